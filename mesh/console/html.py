"""HTML of the console: escaping, tables, the frame with its style and its few lines of script.

Rule: pure. Whatever is shown is escaped here and nowhere else: what is already HTML is of the type Html. Scripts and
styles are the two below, allowed by a nonce; nothing is loaded from anywhere.
"""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote, urlencode

PAGE = 100  # rows
SECTIONS = (
    ("/", "Overview"), ("/hosts", "Hosts"), ("/workloads", "Workloads"), ("/pods", "Pods"), ("/services", "Services"),
    ("/flows", "Flows"),
    ("/secrets", "Secrets"), ("/events", "Events"),
)  # fmt: skip
STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#888;--bad:#c62828;--warn:#b26a00;--good:#2e7d32;--mark:#1565c0}
@media(prefers-color-scheme:dark){:root{--bad:#ff7b72;--warn:#f0b072;--good:#7ee787;--mark:#79c0ff}}
*{box-sizing:border-box}body{font:14px/1.45 system-ui,sans-serif;margin:0}
nav{display:flex;gap:.2em;flex-wrap:wrap;padding:.5em 1em;border-bottom:1px solid var(--line);position:sticky;top:0;
background:Canvas}nav a{padding:.2em .6em;border-radius:4px;text-decoration:none;color:inherit}
nav a[aria-current]{background:var(--line);font-weight:600}nav span{margin-left:auto;color:var(--dim)}
main{padding:1em;max-width:1500px}h1{font-size:1.3em;margin:.2em 0 .6em}h2{font-size:1.05em;margin:1.4em 0 .4em}
table{border-collapse:collapse;width:100%}table.narrow{width:auto;min-width:22em}
th,td{text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid
var(--line);vertical-align:top}th{color:var(--dim);font-weight:500}tr:focus-within{background:var(--line)}
a{color:var(--mark)}.bad{color:var(--bad)}.warn{color:var(--warn)}.good{color:var(--good)}.dim{color:var(--dim)}
pre,.mono{font-family:ui-monospace,monospace;font-size:12.5px}pre{white-space:pre-wrap;border:1px solid var(--line);
padding:.6em;max-height:28em;overflow:auto}progress{width:9em;height:.8em}svg{vertical-align:middle;stroke:var(--mark);
fill:none}
svg text{fill:currentColor;stroke:none;font-size:12px}
form{margin-bottom:.8em}form input{font:inherit;padding:.2em .4em;width:18em}
ul.alerts{padding-left:1.2em}:focus-visible{outline:2px solid
var(--mark)}
"""
SCRIPT = """
const main=document.querySelector('main'),live=document.querySelector('#live');
if(main.dataset.live){const u=new URL(location);u.searchParams.set('live','1');const s=new EventSource(u);
s.onmessage=e=>{const at=document.activeElement,id=at&&at.id;if(id==='q')return;const href=at&&at.getAttribute&&
at.getAttribute('href');main.innerHTML=JSON.parse(e.data);const again=id?document.getElementById(id):href&&
[...main.querySelectorAll('a')].find(a=>a.getAttribute('href')===href);if(again)again.focus();};
s.onopen=()=>live.textContent='live';s.onerror=()=>live.textContent='away';}
addEventListener('keydown',e=>{if(e.target.tagName==='INPUT'){if(e.key==='Escape')e.target.blur();return;}
if(e.ctrlKey||e.metaKey||e.altKey)return;const links=[...main.querySelectorAll('td a')];
const at=links.indexOf(document.activeElement);const nav=document.querySelectorAll('nav a');
if(e.key>='1'&&e.key<=String(nav.length))nav[e.key-1].click();
else if(e.key==='j')(links[at+1]||links[0])?.focus();
else if(e.key==='k')(links[at-1]||links[links.length-1])?.focus();
else if(e.key==='n')main.querySelector('[rel=next]')?.click();
else if(e.key==='p')main.querySelector('[rel=prev]')?.click();
else if(e.key==='/'){e.preventDefault();main.querySelector('#q')?.focus();}});
"""
KEYS = "Keys: 1 to 8 sections, j and k rows, n and p pages, / search"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Html:
    """Anything as HTML."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *inner: object, **attributes: object) -> Html:
    """An element; `class_` is the attribute class, and "__" in a name is "-"."""
    given = ((k.rstrip("_").replace("__", "-"), v) for k, v in attributes.items() if v not in (None, ""))
    said = "".join(f' {k}="{escape(str(v))}"' for k, v in given)
    return Html(f"<{name}{said}>{''.join(text(i) for i in inner)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after the other."""
    return Html(between.join(text(p) for p in parts))


def link(words: object, *path: str, **query: object) -> Html:
    """A link to a page of ours; parts of the path are quoted."""
    where = "/" + "/".join(quote(p, safe="") for p in path)
    asked = urlencode({k: v for k, v in query.items() if v not in ("", None)})
    return tag("a", words, href=where + (f"?{asked}" if asked else ""))


def table(
    titles: Sequence[str], rows: Iterable[Sequence[object]], none: str = "nothing", *, narrow: bool = False
) -> Html:  # fmt: skip
    """A table; a sentence when it has no rows. `narrow`: no wider than what it says."""
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    if not body:
        return tag("p", none, class_="dim")
    head = tag("thead", tag("tr", *(tag("th", title, scope="col") for title in titles)))
    return tag("table", head, tag("tbody", *body), class_="narrow" if narrow else "")


def state(words: str) -> Html:
    """A word in the colour of what it means."""
    good = words in ("Running", "Ready", "Succeeded", "Completed", "Active", "True", "Complete", "delivered")
    calm = words in ("Pending", "ContainerCreating", "PodInitializing", "Terminating", "waiting")
    return tag("span", words, class_="good" if good else "warn" if calm else "bad")


def progress(done: int, of: int) -> Html:
    """A bar with its numbers."""
    return join([tag("progress", value=done, max=max(of, 1)), f" {done}/{of}"])


def spark(values: Sequence[float], words: str) -> Html:
    """A line of how something went; unknown values are gaps."""
    known = [v for v in values if v == v]  # noqa: PLR0124 - NaN
    if len(known) < 2:
        return tag("span", "-", class_="dim")
    top, step = max(known) or 1.0, 120 / max(len(values) - 1, 1)
    points = " ".join(f"{i * step:.1f},{20 - v / top * 18:.1f}" for i, v in enumerate(values) if v == v)  # noqa: PLR0124
    line = tag("polyline", points=points)
    return tag("svg", tag("title", words), line, width=120, height=22, role="img", viewBox="0 0 120 22")


def pages(page: int, total: int, path: str, **query: object) -> Html:
    """Where in a long list this is, and the ways on."""
    last = max(0, (total - 1) // PAGE)
    parts: list[object] = [f"{total} in all"]
    for words, number, rel in (("previous", page - 1, "prev"), ("next", page + 1, "next")):
        if 0 <= number <= last:
            asked = urlencode({k: v for k, v in {**query, "page": number}.items() if v != ""})
            parts.append(tag("a", words, href=f"{path}?{asked}", rel=rel))
    if last:
        parts.append(f"page {page + 1} of {last + 1}")
    return tag("p", join(parts, " · "), class_="dim")


def frame(title: str, body: Html, who: str, nonce: str, at: str, live: bool = True) -> str:
    """The whole page."""
    links = [tag("a", words, href=path, aria_current="") if path != at else
             Html(f'<a href="{path}" aria-current="page">{escape(words)}</a>') for path, words in SECTIONS]  # fmt: skip
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · mesh</title>'
        f'<meta name="viewport" content="width=device-width"><style nonce="{nonce}">{STYLE}</style></head><body>'
        f"{tag('nav', *links, tag('span', who, ' · ', tag('span', id='live'), title=KEYS))}"
        f'<main{" data-live=1" if live else ""}>{body}</main><script nonce="{nonce}">{SCRIPT}</script></body></html>'
    )
