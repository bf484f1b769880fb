"""Regular expressions mean here what they mean in Prometheus, whose syntax is Go's."""

import time

import pytest
import remote_write
import requests
from collector import Collector
from conftest import program

from peer import PROMETHEUS, Peer, ask, compare
from population import TENANT

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not installed")

# No line break: in 2.42 a dot does not match it.
VALUES = [
    "a", "b", "ab", "aab", "aaa", "A", "AB", "k", "K", "\u212a", "s", "\u017f", "é", "É", "aé", "éa", "ß", "d", "d]", "&", "&]", "a]", "[]",
    "^", "-", "--", "a-b", "a~b", "a&b", "&&", "a.b", "axb", "a{,3}", "a{", "{}", "{01}", "1", "12", "٣", "½", "_", "a_1", "\\", "\\d",
    "$", "^a$", "(a)", "|", "*", "+", "?", "\t", "\x0b", "\x0c", "\x07", " ", "\u00a0", "\u2028", "α", "αβ", "Α", "ก", "日本", "\U0001f600", "[:alpha:]",
    ":", "é1", "1é", "node-1.example.com", "pod-7c9f", "GET", "get", "5xx", "503", "/api/v1/query",
]

EXPRESSIONS = [
    # Whole texts.
    "", "a", "a|b", "a|", "|b", "a|b|", "ab?", ".*", ".+", ".", "..", ".?", "a.*", "(a|A).*", ".*a", ".*a.*", "^a$", "^a|b$", "(^a)$", "a$|b",
    r"\Aa\z", "$^", "^", "(?m)^a$", "(?:)", "()", "(|a)+", "(a*)*", "(a*)+b", "(a|ab)(b|)", "x*", "^*", "^+a", "$?",
    # Classes of ASCII.
    r"\d", r"\d+", r"\D", r"\D+", r"\w", r"\w+", r"\W+", r"\s", r"\S", r"\S+", r"[^\d]", r"[\d\D]", r"[^\w]+", r"[\s]", r"[^\s]", r"[\W]", r"[^\D]+",
    r"\w+\b", r"\ba", r"a\b.*", r".*\b", r"a\B.*", r".\B.", r"\B", r"\b", r".*\b.*", r".*\d\B.*", r"\w*\b\W*",
    "[[:alpha:]]+", "[[:^alpha:]]+", "[[:word:]]+", "[[:digit:]x]+", "[[:punct:]]+", "[[:space:]]", "[[:upper:][:digit:]]+", "[^[:ascii:]]+",
    "[[:cntrl:]]", "[[:blank:]]", "[[:graph:]]+", "[[:print:]]+", "[[:xdigit:]]+", "[[:lower:]]+", "[[:alnum:]]", "[:alpha:]+", "[[:alpha]+", "[[:^word:]]",
    # Unicode's.
    r"\pL", r"\pL+", r"\pN+", r"\PL+", r"\p{Greek}+", r"\p{^Greek}", r"\P{Greek}+", r"\P{^Greek}", r"\p{Lu}", r"\p{Ll}+", r"\p{Nd}+", r"[\pL\d]+",
    r"[^\pL]+", r"\p{Thai}|\p{Han}+", r"\pZ", r"\p{Zs}", r"\p{So}", r"\p{Sm}", r"\pS+", r"\pC", r"\p{Cs}", r"\p{Latin}+", r"\pM", r"(?i)\p{Lu}", r"(?i)\P{Lu}",
    # Brackets.
    "[ab]", "[ab]+", "[^ab]", "[a-b&&b]", r"[\w&&[^d]]", "[a&&b]", "[a~~b]+", "[a-]+", "[-a]+", "[a-b-]+", "[]a]+", "[^]a]", "[&-b]", "[a-d]]", "[[]]", "[[a]",
    "[$^]", "[.]", "[*+?]", r"[\]\[]+", r"[\\]", r"[\-a]+", r"[a\-b]+", r"[\x{61}-b]+", r"[\141]", r"[\t\x0b]", "[^^]", "[é-ê]", "[α-ω]+", r"[^\x00-\x{10FFFF}]", "[|]",
    # Flags.
    "(?i)a", "(?i)AB", "(?i)k", "(?i)s", "(?i)ß", "(?i)é", "(?i)α+", "(?i)[k]", "(?i)[^k]", r"(?i)\w", r"(?i)\W", "(?i)[a-z]+", "(?i:a)b", "(?i:a)B", "a(?i)b", "(?i)a(?-i)b",
    "a(?i)b|k", "(a(?i)b)k?|K", "(?s).", "(?-s).", "(?U)a+", "(?U)a+?b?", "(?U:a*)", "(?is)A.*", "(?i-s:A)", "(?i)[[:lower:]]", "(?i)get|post", "(?)a", "(?i)(?-i)A",
    # Escapes and quotations.
    r"a\.b", r"\Qa.b\E", r"\Qa\E+", r"\Q\E", r"a\Q\E+", r"\Q(a)\E|b", r"\Q\d\E", r"\x61", r"\x{61}b", r"\x{1F600}", r"\141", r"\07", r"\a", r"\f", r"\v", r"\t", r"\_", r"\-",
    r"\$", r"\^a\$", r"\(a\)", r"\{\}", r"\/api\/v1\/query", r"\x{D800}", r"\\", r"\\d", r"\~", r"a\~b",
    # Repetitions.
    "a{,3}", "a{2}", "a{2,}b", "a{0,1}b", "a{1,2}", "a{", "{}", "a{0}b", "{01}", "(a{0})*", "a{2", "a??b", "a*?", "a+?b", "a{1}?", "(a{2})?b", "a{0}", "(a{0}|b)+", "(a{10}){100}|a",
    # Groups.
    "(a)(b)", "(?P<x>a)b", "(?P<x>a)(?P<y>b)", "((a)|(b))+", "(?:a|b)+", "(a|b)(-|~)(a|b)", "(?P<n_1>.)x?b",
    # What people write.
    "node-[0-9]+\\..*", "pod-[a-f0-9]{4}", "GET|POST", "(?i:get)", "5..", "5xx|503", "[45].+", "/api/.*", "/api/v1/(query|query_range)", ".*example.*", "[^/]+", ".+-.+",
]

WRONG = [
    "(", ")", "a(", "a)", "(a", "((a)", "(a))", "1)|(?:2", ")(", "[", "[a", "[]", "[^", "[]a", "[z-a]", "[a--b]", "[[:foo:]]", "[[:Alpha:]]", r"[a-\d]", r"[\d-z-a]", "*", "+a", "?", "a|*",
    "(*)", "(?i)*", "{2}", "({2})", "a**", "a*+", "a+?*", "a???", "a{2}{3}", "a{2}*", "a*{2}", "a{1001}", "a{3,2}", "a{2,1001}", "(a{100}){11}", "((a{10}){10}){11}", "((a{600}){0,}){2,}",
    "(?x)a", "(?u)a", "(?R)", "(?a)", "(?=a)", "(?!a)", "(?<=a)b", "(?>a)", "(?#a)", "(?i-)a", "(?-)a", "(?--i)a", "(?", "(?i", "(?:", "(?:a", "(?P<", "(?P<n", "(?P<n>", "(?P<>a)",
    "(?P<n-m>a)", "(?P=n)", "(?P>n)", "(?P<né>a)", "(?Pn)", r"\1", r"(a)\1", r"\8", r"\q", r"\u00e9", r"\U0001f600", r"\C", r"\G", r"\Z", r"\X", r"\K", r"\R", r"\h", r"\N", "\\",
    "a\\", r"\é", r"\x", r"\xZ", r"\x{}", r"\x{110000}", r"\x{g}", r"\x{61", r"\p", r"\p{Foo}", r"\p{Greek", r"\pX", r"\p{Grek}", r"\p{Alphabetic}", r"\p{sc=Greek}", r"[\b]", r"[\Qa\E]", r"[\z]",
]
# 2.42 gives another reason: for the brackets that it puts around the text, or since a newer Go has `(?<name>…)`.
OTHER_REASON = {"(?", "(?i", "(?P<", "\\", "a\\", "(?<=a)b"}

EXPANSIONS = ["$1", "${1}x", "$1x", "$x", "${x}-$y", "$$1", "$", "$$", "${a-b}", "${1", "${}", "$2$1", "$0", "$9", "$01", "$-", "$é", "$1é", "${x}${x}", "$ 1", "a$", "{$1}", "$x_", "$X"]


def quoted(text):
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expressions")
    ours, theirs = Collector(program("tenantscope-collector"), folder / "collector"), Peer(folder / "prometheus")
    try:
        ours.start()
        now_s = int(time.time()) - 60
        series = [({"__name__": "odd", **TENANT, "n": value}, [(now_s * 1000, float(at))]) for at, value in enumerate(VALUES)]
        series.append(({"__name__": "odd", **TENANT}, [(now_s * 1000, -1.0)]))
        with requests.Session() as session:
            for url in (ours.url, theirs.url):
                answer = remote_write.push(session, url + "/api/v1/write", series)
                assert answer.status_code in (200, 204), answer.text
        yield ours.url, theirs.url, now_s
    finally:
        theirs.stop()
        ours.stop()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_same_values_match(both, expression):
    for query in (f"odd{{n=~{quoted(expression)}}}", f"odd{{n!~{quoted(expression)}}}"):
        assert ask(both[1], "/api/v1/query", query=query, time=both[2])[0] == 200, f"Prometheus refuses {query}"
        compare(both, query, "/api/v1/query", time=both[2])


def reason(answer):
    """Without the place, since 2.42 puts brackets around the text before it looks at it, and shows them."""
    return answer["error"].split("error parsing regexp: ")[1].split(": `")[0]


@pytest.mark.parametrize("expression", WRONG)
def test_the_same_is_wrong_for_the_same_reason(both, expression):
    query = f"odd{{n=~{quoted(expression)}}}"
    (our_status, ours), (their_status, theirs) = (ask(url, "/api/v1/query", query=query, time=both[2]) for url in both[:2])
    assert (our_status, their_status) == (400, 400), query
    assert reason(ours) == reason(theirs) or expression in OTHER_REASON


@pytest.mark.parametrize("expansion", EXPANSIONS)
def test_replacements_are_the_same(both, expansion):
    for expression in ("(.*)", "(?P<x>.)(?P<y>.*)", "(a)|(?P<x>.+)", r"\w(?P<x>\W?).*", "(a*?)(.*)", "(?U)(a*)(.*)"):
        query = f'label_replace(odd, "o", {quoted(expansion)}, "n", {quoted(expression)})'
        compare(both, query, "/api/v1/query", time=both[2])
