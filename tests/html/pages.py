"""Reports of plans, and pages read back: a small tree of elements, which also holds them to be well-formed."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from html.parser import HTMLParser

from torchsurgery.reports import gather

VOID = {"wbr", "meta", "input", "br", "hr", "img", "link"}


@dataclass(eq=False)
class Element:
    tag: str
    attributes: dict = field(default_factory=dict)
    children: list = field(default_factory=list)  # elements and strings

    @property
    def classes(self):
        return (self.attributes.get("class") or "").split()

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag=None, kind=None):
        return [e for e in self.walk() if tag in (None, e.tag) and (kind is None or kind in e.classes)]

    def one(self, tag=None, kind=None):
        (found,) = self.all(tag, kind)
        return found


class _Builder(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = [Element("document")]

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {attrs}"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parsed(text):
    """The elements of a page or a piece of one; whatever is opened must be closed, in order."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    assert len(builder.open) == 1, f"left open: {[e.tag for e in builder.open[1:]]}"
    return builder.open[0]


def rows(tree):
    """Each row of a page's tree: its cells' texts, its kind, and whether it is marked as changed."""
    found = []
    for element in tree.all(kind="row"):
        if "head" in element.classes:
            continue
        cells = [" ".join(child.text.replace("\u00a0", " ").split()) for child in element.children]
        found.append((cells, [kind for kind in element.classes if kind not in ("row", "c")]))
    return found


def report_of(plan, inputs=None, source=""):
    """What `plan.report` puts onto its page."""
    given = plan.example_inputs if inputs is None else inputs
    return gather(plan.planned, lambda: nullcontext(plan.draft.model), plan.in_force, given, source)
