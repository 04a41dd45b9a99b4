"""A parser of attention pages."""

import html.parser
import json
from pathlib import Path


class PageParser(html.parser.HTMLParser):
    """Collects the words of a page with their weights, its text, and what it loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.external, self.words, self.text = [], [], []

    def handle_starttag(self, tag, attrs) -> None:
        attributes = dict(attrs)
        for key in ("src", "href", "action"):
            if key in attributes and not attributes[key].startswith("data:"):
                self.external.append(attributes[key])
        if attributes.get("class") == "word":
            self.words.append(json.loads(attributes["data-weights"]))

    def handle_data(self, data) -> None:
        self.text.append(data)


def parse_page(path: Path) -> PageParser:
    parser = PageParser()
    parser.feed(path.read_text())
    return parser
