"""The dated versions of both trees, in the order in which they are listed (OS-1, EC2-9).

A version compares as text: "1.0" < "2007-01-19" < ... < "latest".
"""

from __future__ import annotations

from datetime import date

LATEST = "latest"

FOLSOM = "2012-08-10"
GRIZZLY = "2013-04-04"
HAVANA = "2013-10-17"
LIBERTY = "2015-10-15"
NEWTON_1 = "2016-06-30"
NEWTON_2 = "2016-10-06"
OCATA = "2017-02-22"
ROCKY = "2018-08-27"
VICTORIA = "2020-10-14"
EPOXY = "2025-04-04"

OPENSTACK = (FOLSOM, GRIZZLY, HAVANA, LIBERTY, NEWTON_1, NEWTON_2, OCATA, ROCKY, VICTORIA, EPOXY, LATEST)

EC2_NOVA = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    LATEST,
)
EC2_AWS = (
    *EC2_NOVA[:-1],
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    LATEST,
)


def listed(today: date) -> tuple[str, ...]:
    """The OpenStack versions a listing shows: one after `today` (UTC) is left out, but still answers."""
    return tuple(version for version in OPENSTACK if version == LATEST or version <= today.isoformat())
