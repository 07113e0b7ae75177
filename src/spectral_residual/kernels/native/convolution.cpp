// Grouped 1x1 convolution of maps and of their mirror images, for CPUs.
//
// The mirror image of a map u is u(-n), indices modulo height and width. In every group
//
//     out = residual + first row + unfold(even_weight * s, odd_weight * d),
//     s(n) = u(n) + u(-n),   d(n) = u(n) - u(-n),   unfold(e, o)(n) = e(n) + o(n),
//
// which needs products at half of the rows only, since e is even and o is odd. The derivative by u
// is the same with transposed weights, and the derivative by the weights needs the same s and d of
// the gradient, so that one function does it all.
//
// It works on bands: some rows and their mirror images with all channels of a group, few enough
// for the second level of the cache. `mixing.py` has the same in PyTorch.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Positions of a band; its buffers are filled up to whole blocks.
constexpr int64_t BAND = 512, BLOCK = 32, AHEAD = 2;

struct bfloat16 {
  uint16_t bits;

  operator float() const {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  // To nearest, ties to even; what is not a number stays so.
  bfloat16& operator=(float value) {
    uint32_t wide;
    std::memcpy(&wide, &value, sizeof wide);
    bits = value != value ? 0x7fc0 : uint16_t((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
    return *this;
  }
};

struct Sizes {
  int64_t samples, groups, outputs, inputs, height, width;

  int64_t weights() const { return outputs * inputs; }
};

// (samples, groups * channels, positions) at the distances of samples, channels and positions.
template <typename T>
struct Maps {
  T* data;
  const int64_t* distances;

  int64_t channel() const { return distances[1]; }
  int64_t position() const { return distances[2]; }
  Maps at(int64_t sample, int64_t channel) const {
    return {data + sample * distances[0] + channel * distances[1], distances};
  }
};

// Rows first, first + 1, ... and their mirror images.
struct Band {
  int64_t first, rows, height, width;

  int64_t count() const { return rows * width; }
  int64_t padded() const { return (count() + BLOCK - 1) / BLOCK * BLOCK; }
  int64_t upper(int64_t row) const { return (first + row) * width; }
  int64_t lower(int64_t row) const { return (height - first - row) % height * width; }
  bool is_own_mirror(int64_t row) const { return upper(row) == lower(row); }
};

struct Bands {
  int64_t height, width, rows, count;

  explicit Bands(const Sizes& sizes) : height(sizes.height), width(sizes.width) {
    const int64_t half = height / 2 + 1;
    rows = std::min(half, std::max<int64_t>(1, BAND / width));
    count = (half + rows - 1) / rows;
  }
  // Of channels in a buffer. No power of two: at such distances lines of the cache collide.
  int64_t distance() const { return (rows * width + BLOCK - 1) / BLOCK * BLOCK + 16; }
  Band operator[](int64_t index) const {
    const int64_t first = index * rows;
    return {first, std::min(rows, height / 2 + 1 - first), height, width};
  }
};

// Even and odd values of some channels of a band, (channels, distance) each.
template <typename F>
struct Sides {
  F *even, *odd;
  int64_t channels, distance;
};

template <typename F>
class Workspace {
 public:
  Workspace(const Sizes& sizes, int64_t distance)
      : buffer(2 * (sizes.inputs + sizes.outputs) * distance),
        inputs(take(0, sizes.inputs, distance)),
        outputs(take(2 * sizes.inputs * distance, sizes.outputs, distance)) {}

 private:
  std::vector<F> buffer;
  Sides<F> take(int64_t start, int64_t channels, int64_t distance) {
    F* even = buffer.data() + start;
    return {even, even + channels * distance, channels, distance};
  }

 public:
  const Sides<F> inputs, outputs;
};

// Call `piece(j, count)` for 1 <= j < width in vectors, the last two of which may overlap.
template <int LANES, typename Piece>
inline void in_vectors(int64_t width, Piece piece) {
  struct Lanes {
    constexpr operator int64_t() const { return LANES; }
  };
  if (width <= LANES) {
    piece(1, width - 1);
    return;
  }
  int64_t j = 1;
  for (; j + LANES <= width; j += LANES) piece(j, Lanes{});
  if (j < width) piece(width - LANES, Lanes{});
}

// Ask for a band of one channel and its mirror image, with neighbouring positions side by side, as
// they lie too far from those of the channel before to be expected.
template <typename T>
inline void prefetch(const T* channel, const Band& band) {
  constexpr int64_t LINE = 64 / sizeof(T);
  const T* upper = channel + band.upper(0);
  const T* lower = channel + band.lower(band.rows - 1);
  for (int64_t j = 0; j < band.count(); j += LINE) {
    __builtin_prefetch(upper + j);
    __builtin_prefetch(lower + j);
  }
}

// Sums and differences of a band with its mirror image.
template <typename T, typename F>
void fold(const Maps<const T>& maps, const Band& band, const Sides<F>& sides) {
  constexpr int LANES = 64 / sizeof(F);
  const int64_t width = band.width, step = maps.position(), jump = maps.channel();
  for (int64_t c = 0; c < sides.channels; ++c) {
    const int64_t start = c * sides.distance;
    std::fill(sides.even + start + band.count(), sides.even + start + band.padded(), F(0));
    std::fill(sides.odd + start + band.count(), sides.odd + start + band.padded(), F(0));
  }
  if (step != 1) {
    for (int64_t row = 0; row < band.rows; ++row)
      for (int64_t j = 0; j < width; ++j) {
        const T* __restrict a = maps.data + (band.upper(row) + j) * step;
        const T* __restrict b = maps.data + (band.lower(row) + (width - j) % width) * step;
        F* __restrict even = sides.even + row * width + j;
        F* __restrict odd = sides.odd + row * width + j;
        for (int64_t c = 0; c < sides.channels; ++c) {
          even[c * sides.distance] = F(a[c * jump]) + F(b[c * jump]);
          odd[c * sides.distance] = F(a[c * jump]) - F(b[c * jump]);
        }
      }
    return;
  }
  for (int64_t c = 0; c < sides.channels; ++c) {
    if (c + AHEAD < sides.channels) prefetch(maps.data + (c + AHEAD) * jump, band);
    for (int64_t row = 0; row < band.rows; ++row) {
      const T* __restrict a = maps.data + c * jump + band.upper(row);
      const T* __restrict b = maps.data + c * jump + band.lower(row);
      F* __restrict even = sides.even + c * sides.distance + row * width;
      F* __restrict odd = sides.odd + c * sides.distance + row * width;
      even[0] = F(a[0]) + F(b[0]);
      odd[0] = F(a[0]) - F(b[0]);
      in_vectors<LANES>(width, [=](int64_t j, auto count) {
        for (int64_t i = j; i < j + count; ++i) {
          even[i] = F(a[i]) + F(b[width - i]);
          odd[i] = F(a[i]) - F(b[width - i]);
        }
      });
    }
  }
}

// Sum of an even and an odd band on its rows, their difference on the mirrored rows, plus residual.
template <bool RESIDUAL, typename T, typename F>
void unfold(const Sides<F>& sides, const Band& band, const Maps<const T>& residual,
            const Maps<T>& out) {
  constexpr int LANES = 64 / sizeof(F);
  const int64_t width = band.width, step = out.position(), jump = out.channel();
  const int64_t more_step = RESIDUAL ? residual.position() : 0;
  const int64_t more_jump = RESIDUAL ? residual.channel() : 0;
  auto sum = [](F value, const T* more, int64_t i) { return RESIDUAL ? value + F(more[i]) : value; };
  if (step != 1) {
    for (int64_t row = 0; row < band.rows; ++row)
      for (int64_t j = 0; j < width; ++j) {
        const F* __restrict even = sides.even + row * width + j;
        const F* __restrict odd = sides.odd + row * width + j;
        const int64_t above = band.upper(row) + j, below = band.lower(row) + (width - j) % width;
        T* __restrict a = out.data + above * step;
        T* __restrict b = out.data + below * step;
        const T* __restrict more_a = residual.data + above * more_step;
        const T* __restrict more_b = residual.data + below * more_step;
        for (int64_t c = 0; c < sides.channels; ++c)
          a[c * jump] =
              sum(even[c * sides.distance] + odd[c * sides.distance], more_a, c * more_jump);
        if (band.is_own_mirror(row)) continue;
        for (int64_t c = 0; c < sides.channels; ++c)
          b[c * jump] =
              sum(even[c * sides.distance] - odd[c * sides.distance], more_b, c * more_jump);
      }
    return;
  }
  for (int64_t c = 0; c < sides.channels; ++c) {
    if (c + AHEAD < sides.channels) {
      prefetch(out.data + (c + AHEAD) * jump, band);
      if (RESIDUAL) prefetch(residual.data + (c + AHEAD) * more_jump, band);
    }
    for (int64_t row = 0; row < band.rows; ++row) {
      const F* __restrict even = sides.even + c * sides.distance + row * width;
      const F* __restrict odd = sides.odd + c * sides.distance + row * width;
      T* __restrict a = out.data + c * jump + band.upper(row);
      T* __restrict b = out.data + c * jump + band.lower(row);
      const T* __restrict more_a = residual.data + c * more_jump + band.upper(row);
      const T* __restrict more_b = residual.data + c * more_jump + band.lower(row);
      a[0] = sum(even[0] + odd[0], more_a, 0);
      in_vectors<LANES>(width, [=](int64_t j, auto count) {
        for (int64_t i = j; i < j + count; ++i) a[i] = sum(even[i] + odd[i], more_a, i);
      });
      if (band.is_own_mirror(row)) continue;
      b[0] = sum(even[0] - odd[0], more_b, 0);
      in_vectors<LANES>(width, [=](int64_t j, auto count) {
        for (int64_t i = j; i < j + count; ++i)
          b[i] = sum(even[width - i] - odd[width - i], more_b, i);
      });
    }
  }
}

// result (ROWS, columns) = weight (ROWS, inputs) * values (inputs, columns).
template <int ROWS, typename F>
void multiply_rows(const F* weight, int64_t inputs, const F* values, int64_t distance,
                   int64_t columns, F* result) {
  constexpr int LANES = 64 / sizeof(F), VECTORS = BLOCK / LANES;
  typedef F Vector __attribute__((vector_size(64), aligned(sizeof(F))));
  for (int64_t j = 0; j < columns; j += BLOCK) {
    Vector sums[ROWS][VECTORS] = {};
    for (int64_t c = 0; c < inputs; ++c)
      for (int v = 0; v < VECTORS; ++v) {
        const Vector value = *(const Vector*)(values + c * distance + j + v * LANES);
        for (int r = 0; r < ROWS; ++r) sums[r][v] += weight[r * inputs + c] * value;
      }
    for (int r = 0; r < ROWS; ++r)
      for (int v = 0; v < VECTORS; ++v)
        *(Vector*)(result + r * distance + j + v * LANES) = sums[r][v];
  }
}

template <typename F>
void multiply(const F* weight, int64_t outputs, int64_t inputs, const F* values, int64_t distance,
              int64_t columns, F* result) {
  constexpr int ROWS = 32 / sizeof(F);  // As many sums as there are registers for.
  int64_t row = 0;
  for (; row + ROWS <= outputs; row += ROWS)
    multiply_rows<ROWS>(weight + row * inputs, inputs, values, distance, columns,
                        result + row * distance);
  for (; row < outputs; ++row)
    multiply_rows<1>(weight + row * inputs, inputs, values, distance, columns,
                     result + row * distance);
}

// result (outputs, inputs) += left (outputs, columns) * right (inputs, columns)^T.
template <typename F>
void add_outer(const F* left, int64_t outputs, const F* right, int64_t inputs, int64_t distance,
               int64_t columns, F* result) {
  constexpr int LANES = 64 / sizeof(F), SIDE = 4;
  typedef F Vector __attribute__((vector_size(64), aligned(sizeof(F))));
  auto vector = [](const F* start) { return *(const Vector*)start; };
  for (int64_t row = 0; row < outputs; row += SIDE)
    for (int64_t column = 0; column < inputs; column += SIDE) {
      const int64_t rows = std::min<int64_t>(SIDE, outputs - row);
      const int64_t width = std::min<int64_t>(SIDE, inputs - column);
      const F* a = left + row * distance;
      const F* b = right + column * distance;
      Vector sums[SIDE][SIDE] = {};
      if (rows == SIDE && width == SIDE) {
        for (int64_t j = 0; j < columns; j += LANES)
          for (int r = 0; r < SIDE; ++r)
            for (int c = 0; c < SIDE; ++c)
              sums[r][c] += vector(a + r * distance + j) * vector(b + c * distance + j);
      } else {
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < width; ++c)
            for (int64_t j = 0; j < columns; j += LANES)
              sums[r][c] += vector(a + r * distance + j) * vector(b + c * distance + j);
      }
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < width; ++c)
          for (int lane = 0; lane < LANES; ++lane)
            result[(row + r) * inputs + column + c] += sums[r][c][lane];
    }
}

// Halve rows that are their own mirror images: both halves of them are the same products.
template <typename F>
void halve_own_mirrors(const Sides<F>& sides, const Band& band) {
  for (int64_t row = 0; row < band.rows; ++row)
    for (int64_t c = 0; band.is_own_mirror(row) && c < sides.channels; ++c)
      for (int64_t j = row * band.width; j < (row + 1) * band.width; ++j) {
        sides.even[c * sides.distance + j] /= 2;
        sides.odd[c * sides.distance + j] /= 2;
      }
}

// Products of `in` go to `out`, if it has data. If `other` has data, maps with the channels of
// `out`, `outer` gets the sums over positions of products of `in` and `other`, (2, groups, inputs,
// outputs): if `in` is the gradient of a convolution of `other`, its derivative by the weights.
template <typename Tin, typename Tout, typename F>
void mix(const Sizes& sizes, const Maps<const Tin>& in, const F* weight,
         const Maps<const Tout>& residual, const F* first_row, const Maps<Tout>& out,
         const Maps<const Tout>& other, F* outer, int threads) {
  const Bands bands(sizes);
  const int64_t groups = sizes.groups, inputs = sizes.inputs, outputs = sizes.outputs;
  const int64_t tasks = sizes.samples * groups * bands.count, half = groups * sizes.weights();
  const int64_t distance = bands.distance();
  // One sum for each thread, added up in order: the same result in every run.
  std::vector<std::vector<F>> sums(threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    const Workspace<F> work(sizes, distance);
    if (other.data) sums[thread].resize(2 * half);
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; ++task) {
      const Band band = bands[task % bands.count];
      const int64_t group = task / bands.count % groups, sample = task / bands.count / groups;
      fold(in.at(sample, group * inputs), band, work.inputs);
      if (out.data) {
        const F* even_weight = weight + group * sizes.weights();
        const F* odd_weight = even_weight + half;
        multiply(even_weight, outputs, inputs, work.inputs.even, distance, band.count(),
                 work.outputs.even);
        multiply(odd_weight, outputs, inputs, work.inputs.odd, distance, band.count(),
                 work.outputs.odd);
        // Row 0 is its own mirror image, so that what is added to `even` is added once.
        if (first_row && band.first == 0)
          for (int64_t c = 0; c < outputs; ++c)
            for (int64_t j = 0; j < sizes.width; ++j)
              work.outputs.even[c * distance + j] +=
                  first_row[(group * outputs + c) * sizes.width + j];
        const Maps<Tout> target = out.at(sample, group * outputs);
        if (residual.data)
          unfold<true>(work.outputs, band, residual.at(sample, group * outputs), target);
        else
          unfold<false>(work.outputs, band, residual, target);
      }
      if (other.data) {
        halve_own_mirrors(work.inputs, band);
        fold(other.at(sample, group * outputs), band, work.outputs);
        F* found = sums[thread].data() + group * sizes.weights();
        add_outer(work.inputs.even, inputs, work.outputs.even, outputs, distance, band.count(),
                  found);
        add_outer(work.inputs.odd, inputs, work.outputs.odd, outputs, distance, band.count(),
                  found + half);
      }
    }
  }
  if (other.data) std::fill(outer, outer + 2 * half, F(0));
  for (const auto& some : sums)
    for (size_t i = 0; i < some.size(); ++i) outer[i] += some[i];
}

enum Type { FLOAT32, FLOAT64, BFLOAT16 };

// Call `run` with values of both types and of the type to compute in.
template <typename Run>
void with_types(int first, int second, Run run) {
  if (first == FLOAT64)
    run(double{}, double{}, double{});
  else if (first == FLOAT32 && second == FLOAT32)
    run(float{}, float{}, float{});
  else if (first == FLOAT32)
    run(float{}, bfloat16{}, float{});
  else if (second == FLOAT32)
    run(bfloat16{}, float{}, float{});
  else
    run(bfloat16{}, bfloat16{}, float{});
}

}  // namespace

extern "C" {

// Residual, first row, `out` and `other` may be null; all but the first row have the type of `out`.
void srl_mix(const int64_t* sizes, int in_type, const void* in, const int64_t* in_distances,
             const void* weight, const void* residual, const int64_t* residual_distances,
             const void* first_row, int out_type, void* out, const int64_t* out_distances,
             const void* other, const int64_t* other_distances, void* outer, int threads) {
  with_types(in_type, out_type, [=](auto source, auto target, auto compute) {
    using Tin = decltype(source);
    using Tout = decltype(target);
    using F = decltype(compute);
    mix<Tin, Tout, F>(*(const Sizes*)sizes, {(const Tin*)in, in_distances}, (const F*)weight,
                      {(const Tout*)residual, residual_distances}, (const F*)first_row,
                      {(Tout*)out, out_distances}, {(const Tout*)other, other_distances},
                      (F*)outer, threads);
  });
}
}
