"""`routing-policy` rules in the words of `ip rule`, which ifupdown, the network scripts and NetworkManager
take.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Rule

# key of v2: word of ip(8)
WORDS = {
    "priority": "priority",
    "from": "from",
    "to": "to",
    "mark": "fwmark",
    "type-of-service": "tos",
    "table": "table",
}
# NetworkManager wants one always; the kernel's own rules begin at 32766.
DEFAULT_PRIORITY = "30000"


def is_ipv6(rule: Rule) -> bool:
    return any(":" in value for key, value in rule.pairs if key in {"from", "to"})


def words(rule: Rule) -> str:
    """`priority 1000 from 198.51.100.10 table 101`; a rule without a priority gets one after all others."""
    given = {"priority": DEFAULT_PRIORITY, **dict(rule.pairs)}
    return " ".join(f"{word} {given[key]}" for key, word in WORDS.items() if key in given)
