"""Reading HTML pages strictly."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

HOSTILE = "<script>alert('1')</script> & \"x\" </style><b onclick=1>"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Parses a page strictly: every element but the void ones must be closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else None, data))

    def of(self, tag):
        return [attributes for name, attributes in self.attributes if name == tag]

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]


def decode(address):
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", address).groups()
    content = base64.b64decode(data, validate=True)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return kind, content, image[:, :, ::-1]
