// What happens to the spectrum of hidden maps in training, for CPUs: statistics and normalisation,
// filter and ReLU, moments of the result, and their derivatives.
//
// Spectra are complex, (samples, groups * planes, frequencies); values per plane are (2, groups *
// planes), those of the real parts first. `filtering.py` and `statistics.py` have the same in
// PyTorch.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t TILE = 64;

struct Sizes {
  int64_t samples, groups, planes, frequencies;

  int64_t all_planes() const { return groups * planes; }
  int64_t count() const { return samples * frequencies; }
  // Of a plane in a spectrum, as an array of real and imaginary parts by turns.
  int64_t start(int64_t sample, int64_t plane) const {
    return 2 * (sample * all_planes() + plane) * frequencies;
  }
};

// A vector of values for real and imaginary parts by turns, or of sums of such.
template <typename F>
struct Pairs {
  static constexpr int LANES = 64 / sizeof(F);
  F lanes[LANES] = {};

  Pairs() = default;
  // Those of a plane in values per plane.
  Pairs(const F* values, int64_t plane, int64_t planes) {
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] = values[lane % 2 * planes + plane];
  }
  double total(int part) const {
    double result = 0;
    for (int lane = part; lane < LANES; lane += 2) result += lanes[lane];
    return result;
  }
};

// `work(index, lane)` for an array of pairs, in whole vectors where possible.
template <typename F, typename Work>
inline void for_pairs(int64_t frequencies, Work work) {
  constexpr int LANES = Pairs<F>::LANES;
  int64_t i = 0;
  for (; i + LANES <= 2 * frequencies; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) work(i + lane, lane);
  for (int lane = 0; i + lane < 2 * frequencies; ++lane) work(i + lane, lane);
}

// Every value twice.
template <typename F>
std::vector<F> doubled(const F* values, int64_t count) {
  std::vector<F> result(2 * count);
  for (int64_t i = 0; i < 2 * count; ++i) result[i] = values[i / 2];
  return result;
}

template <typename F>
void statistics(const Sizes& sizes, const F* spectrum, F* mean, F* variance, int threads) {
  const int64_t planes = sizes.all_planes(), frequencies = sizes.frequencies;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t plane = 0; plane < planes; ++plane) {
    double totals[2] = {};
    for (int64_t n = 0; n < sizes.samples; ++n) {
      const F* __restrict z = spectrum + sizes.start(n, plane);
      Pairs<F> sum;
      for_pairs<F>(frequencies, [&](int64_t i, int lane) { sum.lanes[lane] += z[i]; });
      for (int part = 0; part < 2; ++part) totals[part] += sum.total(part);
    }
    for (int part = 0; part < 2; ++part) {
      mean[part * planes + plane] = F(totals[part] / sizes.count());
      totals[part] = 0;
    }
    const Pairs<F> centre(mean, plane, planes);
    for (int64_t n = 0; n < sizes.samples; ++n) {
      const F* __restrict z = spectrum + sizes.start(n, plane);
      Pairs<F> sum;
      for_pairs<F>(frequencies, [&](int64_t i, int lane) {
        const F centred = z[i] - centre.lanes[lane];
        sum.lanes[lane] += centred * centred;
      });
      for (int part = 0; part < 2; ++part) totals[part] += sum.total(part);
    }
    for (int part = 0; part < 2; ++part)
      variance[part * planes + plane] = F(totals[part] / sizes.count());
  }
}

// Before the ReLU. The same in both directions, so that derivatives are those of what was computed.
template <typename F>
inline F filtered(F value, F scale, F shift, F weight, F bias) {
  return weight * (scale * value + shift) + bias;
}

// result = max(weight * (scale * spectrum + shift) + bias, 0), and its mean in every plane.
template <typename F>
void filter(const Sizes& sizes, const F* spectrum, const F* scale, const F* shift,
            const F* weight, const F* bias, F* result, F* mean, int threads) {
  const int64_t planes = sizes.all_planes(), frequencies = sizes.frequencies;
  const std::vector<F> weights = doubled(weight, frequencies), biases = doubled(bias, frequencies);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t plane = 0; plane < planes; ++plane) {
    const Pairs<F> scales(scale, plane, planes), shifts(shift, plane, planes);
    const F* __restrict w = weights.data();
    const F* __restrict b = biases.data();
    double totals[2] = {};
    for (int64_t n = 0; n < sizes.samples; ++n) {
      const F* __restrict z = spectrum + sizes.start(n, plane);
      F* __restrict y = result + sizes.start(n, plane);
      Pairs<F> sum;
      for_pairs<F>(frequencies, [&](int64_t i, int lane) {
        const F before = filtered(z[i], scales.lanes[lane], shifts.lanes[lane], w[i], b[i]);
        // Written so that what is not a number stays so.
        const F value = before < 0 ? F(0) : before;
        y[i] = value;
        sum.lanes[lane] += value;
      });
      for (int part = 0; part < 2; ++part) totals[part] += sum.total(part);
    }
    for (int part = 0; part < 2; ++part)
      mean[part * planes + plane] = F(totals[part] / sizes.count());
  }
}

// One part of the planes of a group at some frequencies, (planes, TILE), filled up with zeros; less
// the mean of the plane, if there is one.
template <typename F>
void take(const Sizes& sizes, const F* spectrum, int64_t sample, int64_t group, int part,
          int64_t first, const F* mean, F* tile) {
  const int64_t width = std::min(TILE, sizes.frequencies - first);
  for (int64_t k = 0; k < sizes.planes; ++k) {
    const int64_t plane = group * sizes.planes + k;
    const F* __restrict z =
        spectrum + sizes.start(sample, plane) + 2 * first + part;
    F* __restrict row = tile + k * TILE;
    const F middle = mean ? mean[part * sizes.all_planes() + plane] : F(0);
    if (width == TILE)
      for (int64_t f = 0; f < TILE; ++f) row[f] = z[2 * f] - middle;
    else
      for (int64_t f = 0; f < TILE; ++f) row[f] = f < width ? z[2 * f] - middle : F(0);
  }
}

// covariance (2, groups, planes, planes) of parts of the spectrum, divided by the count.
template <typename F>
void covariance(const Sizes& sizes, const F* spectrum, const F* mean, F* result, int threads) {
  constexpr int LANES = Pairs<F>::LANES, SIDE = 4;
  typedef F Vector __attribute__((vector_size(64), aligned(sizeof(F))));
  auto vector = [](const F* start) { return *(const Vector*)start; };
  const int64_t k = sizes.planes, tiles = (sizes.frequencies + TILE - 1) / TILE;
  const int64_t units = 2 * sizes.groups;
  std::vector<std::vector<double>> sums(threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    sums[thread].resize(units * k * k);
    std::vector<F> tile(k * TILE);
    const int64_t tasks = sizes.samples * units * tiles;
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; ++task) {
      const int64_t unit = task / tiles % units, sample = task / tiles / units;
      take(sizes, spectrum, sample, unit % sizes.groups, int(unit / sizes.groups),
           task % tiles * TILE, mean, tile.data());
      double* found = sums[thread].data() + unit * k * k;
      for (int64_t row = 0; row < k; row += SIDE)
        for (int64_t column = 0; column <= row; column += SIDE) {
          const int64_t rows = std::min<int64_t>(SIDE, k - row);
          const int64_t columns = std::min<int64_t>(SIDE, k - column);
          const F* a = tile.data() + row * TILE;
          const F* b = tile.data() + column * TILE;
          Vector products[SIDE][SIDE] = {};
          if (rows == SIDE && columns == SIDE) {
            for (int64_t f = 0; f < TILE; f += LANES)
              for (int r = 0; r < SIDE; ++r)
                for (int c = 0; c < SIDE; ++c)
                  products[r][c] += vector(a + r * TILE + f) * vector(b + c * TILE + f);
          } else {
            for (int64_t f = 0; f < TILE; f += LANES)
              for (int64_t r = 0; r < rows; ++r)
                for (int64_t c = 0; c < columns; ++c)
                  products[r][c] += vector(a + r * TILE + f) * vector(b + c * TILE + f);
          }
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < columns; ++c)
              for (int lane = 0; lane < LANES; ++lane)
                found[(row + r) * k + column + c] += products[r][c][lane];
        }
    }
  }
  for (int64_t unit = 0; unit < units; ++unit)
    for (int64_t row = 0; row < k; ++row)
      for (int64_t column = 0; column <= row; ++column) {
        double total = 0;
        for (const auto& some : sums) total += some[(unit * k + row) * k + column];
        result[(unit * k + row) * k + column] = result[(unit * k + column) * k + row] =
            F(total / sizes.count());
      }
}

// Derivatives of `filter` and of the moments of its result.
//
// `gradient` holds that of the result on entry, but for factors `columns` of the frequencies, and
// that of the spectrum on return, divided by them. `factor`, (2, groups, planes, planes), times the
// result minus its mean, plus `constant` is added to the gradient of the result. `normalised` says
// whether mean and variance that scale and shift come from are those of the spectrum.
template <typename F>
struct Backward {
  Sizes sizes;
  const F *spectrum, *mean, *inverse, *gamma, *beta, *weight, *bias, *columns;
  const F *result_mean, *factor, *constant;
  F *gradient, *of_gamma, *of_beta, *of_weight, *of_bias;
  bool normalised;

  void run(int threads) const;
};

// Sums of products of TILE values.
template <typename F>
inline double dot(const F* __restrict a, const F* __restrict b) {
  constexpr int LANES = Pairs<F>::LANES;
  Pairs<F> sum;
  for (int64_t f = 0; f < TILE; f += LANES)
    for (int lane = 0; lane < LANES; ++lane) sum.lanes[lane] += a[f + lane] * b[f + lane];
  return sum.total(0) + sum.total(1);
}

template <typename F>
void Backward<F>::run(int threads) const {
  const int64_t k = sizes.planes, planes = sizes.all_planes(), frequencies = sizes.frequencies;
  const int64_t tiles = (frequencies + TILE - 1) / TILE, units = 2 * sizes.groups;
  struct Found {
    std::vector<double> of_gamma, of_beta;
    std::vector<F> of_weight, of_bias;
  };
  std::vector<Found> sums(threads);
  // First pass: the gradient before the ReLU, and all sums over it.
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    Found& found = sums[thread];
    found.of_gamma.resize(2 * planes);
    found.of_beta.resize(2 * planes);
    found.of_weight.resize(tiles * TILE);
    found.of_bias.resize(tiles * TILE);
    // The tile's values of planes of a group, filled up with zeros.
    std::vector<F> normal(k * TILE), value(k * TILE), centred(k * TILE);
    F weights[TILE], biases[TILE], factors[TILE];
    const int64_t tasks = sizes.samples * units * tiles;
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; ++task) {
      const int64_t unit = task / tiles % units, sample = task / tiles / units;
      const int64_t group = unit % sizes.groups, first = task % tiles * TILE;
      const int64_t width = std::min(TILE, frequencies - first);
      const int part = int(unit / sizes.groups);
      for (int64_t f = 0; f < TILE; ++f) {
        weights[f] = f < width ? weight[first + f] : F(0);
        biases[f] = f < width ? bias[first + f] : F(0);
        factors[f] = f < width ? columns[first + f] : F(0);
      }
      take(sizes, spectrum, sample, group, part, first, (const F*)nullptr, normal.data());
      for (int64_t i = 0; i < k; ++i) {
        const int64_t at = part * planes + group * k + i;
        const F times = inverse[at], scale = gamma[at] * times, middle = mean[at];
        const F shift = beta[at] - middle * scale, result_middle = result_mean[at];
        F* __restrict x = normal.data() + i * TILE;
        F* __restrict y = value.data() + i * TILE;
        F* __restrict c = centred.data() + i * TILE;
        for (int64_t f = 0; f < TILE; ++f) {
          const F before = filtered(x[f], scale, shift, weights[f], biases[f]);
          y[f] = before < 0 ? F(0) : before;
          c[f] = y[f] - result_middle;
          x[f] = (x[f] - middle) * times;
        }
      }
      F* __restrict of_w = found.of_weight.data() + first;
      F* __restrict of_b = found.of_bias.data() + first;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t plane = group * k + i, at = part * planes + plane;
        const F* row = factor + (unit * k + i) * k;
        const F gammas = gamma[at], betas = beta[at], all = constant[at];
        const F* __restrict x = normal.data() + i * TILE;
        const F* __restrict y = value.data() + i * TILE;
        F* __restrict g = gradient + sizes.start(sample, plane) + 2 * first + part;
        F through[TILE], weighted[TILE];
        for (int64_t f = 0; f < TILE; ++f) through[f] = all;
        for (int64_t j = 0; j < k; ++j) {
          const F* __restrict c = centred.data() + j * TILE;
          const F times = row[j];
          for (int64_t f = 0; f < TILE; ++f) through[f] += times * c[f];
        }
        if (width == TILE)
          for (int64_t f = 0; f < TILE; ++f) through[f] += factors[f] * g[2 * f];
        else
          for (int64_t f = 0; f < width; ++f) through[f] += factors[f] * g[2 * f];
        for (int64_t f = 0; f < TILE; ++f) {
          through[f] = y[f] > 0 ? through[f] : F(0);
          weighted[f] = through[f] * weights[f];
          of_b[f] += through[f];
          of_w[f] += through[f] * (gammas * x[f] + betas);
        }
        for (int64_t f = 0; f < width; ++f) g[2 * f] = through[f];
        found.of_gamma[at] += dot(weighted, x);
        F ones[TILE];
        std::fill(ones, ones + TILE, F(1));
        found.of_beta[at] += dot(weighted, ones);
      }
    }
  }
  std::fill(of_weight, of_weight + frequencies, F(0));
  std::fill(of_bias, of_bias + frequencies, F(0));
  std::vector<double> gammas(2 * planes), betas(2 * planes);
  for (const Found& found : sums) {
    for (int64_t at = 0; at < 2 * planes; ++at) {
      gammas[at] += found.of_gamma[at];
      betas[at] += found.of_beta[at];
    }
    for (int64_t f = 0; f < frequencies; ++f) {
      of_weight[f] += found.of_weight[f];
      of_bias[f] += found.of_bias[f];
    }
  }
  std::copy(gammas.begin(), gammas.end(), of_gamma);
  std::copy(betas.begin(), betas.end(), of_beta);
  // Second pass: through filter and normalisation.
  const std::vector<F> weights = doubled(weight, frequencies);
  std::vector<F> shares = doubled(columns, frequencies);
  for (F& share : shares) share = 1 / share;
  std::vector<F> scale(2 * planes), slope(2 * planes), same(2 * planes);
  for (int64_t at = 0; at < 2 * planes; ++at) {
    scale[at] = gamma[at] * inverse[at];
    const double share = normalised ? scale[at] / double(sizes.count()) : 0;
    slope[at] = F(share * gammas[at]) * inverse[at];
    same[at] = F(share * betas[at]);
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t task = 0; task < sizes.samples * planes; ++task) {
    const int64_t plane = task % planes, start = sizes.start(task / planes, plane);
    const Pairs<F> scales(scale.data(), plane, planes), slopes(slope.data(), plane, planes);
    const Pairs<F> sames(same.data(), plane, planes), centre(mean, plane, planes);
    const F* __restrict z = spectrum + start;
    const F* __restrict w = weights.data();
    const F* __restrict share = shares.data();
    F* __restrict g = gradient + start;
    for_pairs<F>(frequencies, [&](int64_t i, int lane) {
      const F through = g[i] * scales.lanes[lane] * w[i];
      const F back = (z[i] - centre.lanes[lane]) * slopes.lanes[lane] + sames.lanes[lane];
      g[i] = (through - back) * share[i];
    });
  }
}

}  // namespace

extern "C" {

void srl_statistics(const int64_t* sizes, int is_double, const void* spectrum, void* mean,
                    void* variance, int threads) {
  auto run = [=](auto type) {
    using F = decltype(type);
    statistics<F>(*(const Sizes*)sizes, (const F*)spectrum, (F*)mean, (F*)variance, threads);
  };
  is_double ? run(double{}) : run(float{});
}

void srl_filter(const int64_t* sizes, int is_double, const void* spectrum, const void* scale,
                const void* shift, const void* weight, const void* bias, void* result, void* mean,
                int threads) {
  auto run = [=](auto type) {
    using F = decltype(type);
    filter<F>(*(const Sizes*)sizes, (const F*)spectrum, (const F*)scale, (const F*)shift,
              (const F*)weight, (const F*)bias, (F*)result, (F*)mean, threads);
  };
  is_double ? run(double{}) : run(float{});
}

void srl_covariance(const int64_t* sizes, int is_double, const void* spectrum, const void* mean,
                    void* result, int threads) {
  auto run = [=](auto type) {
    using F = decltype(type);
    covariance<F>(*(const Sizes*)sizes, (const F*)spectrum, (const F*)mean, (F*)result, threads);
  };
  is_double ? run(double{}) : run(float{});
}

// `tensors` in the order of `Backward`.
void srl_filter_backward(const int64_t* sizes, int is_double, void* const* tensors, int normalised,
                         int threads) {
  auto run = [=](auto type) {
    using F = decltype(type);
    auto in = [=](int index) { return (const F*)tensors[index]; };
    auto out = [=](int index) { return (F*)tensors[index]; };
    Backward<F>{*(const Sizes*)sizes, in(0),   in(1),   in(2),   in(3),   in(4),   in(5),
                in(6),                in(7),   in(8),   in(9),   in(10),  out(11), out(12),
                out(13),              out(14), out(15), bool(normalised)}
        .run(threads);
  };
  is_double ? run(double{}) : run(float{});
}
}
