"""Measures what ending logins cost: a steady load on a broker that ends each login after a while.

make logins MINUTES=10                          tokens of 40 s, connections.max.reauth.ms=30000
make logins MINUTES=10 ARGS="--without"         the same load without an end of tokens and logins
make logins ARGS="--login scram --seconds 100 --reauth-seconds 15"             a login by password
make logins ARGS="--login scram --seconds 100 --reauth-seconds 15 --ending"    without renewals

`--ending` shows what the client library does alone: the broker closes each connection at the end of
its session. Exit code 0: no event was lost or published twice, and, without `--ending`, no shard
restarted.
"""

from __future__ import annotations

import argparse
import sys

from tests.logins.run import OAUTHBEARER, SCRAM, Figures, Order, run

EXIT_RESTARTED = 1


def main() -> int:
    """Run it as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.logins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of load")
    parser.add_argument("--seconds", type=float, help="of load, instead of minutes")
    parser.add_argument("--login", choices=(OAUTHBEARER, SCRAM), default=OAUTHBEARER)
    parser.add_argument("--reauth-seconds", type=float, default=30.0, help="life of a login")
    parser.add_argument("--token-seconds", type=float, default=40.0, help="life of a token")
    parser.add_argument("--without", action="store_true", help="no login and no token ends")
    parser.add_argument("--ending", action="store_true", help="renew no login")
    options = parser.parse_args()
    order = Order(
        seconds=options.seconds or options.minutes * 60,
        login=options.login,
        reauth_seconds=0.0 if options.without else options.reauth_seconds,
        token_seconds=options.token_seconds,
        is_ending=options.ending,
    )
    figures = run(order)
    sys.stdout.write(f"{text(order, figures)}\n")
    return EXIT_RESTARTED if figures.shard_restarts and not order.is_ending else 0


def text(order: Order, figures: Figures) -> str:
    """Return the figures as text."""
    limits = "no limit of logins"
    if order.reauth_seconds:
        limits = f"connections.max.reauth.ms={order.reauth_seconds * 1000:.0f}"
        if order.login == OAUTHBEARER:
            limits += f", tokens of {order.token_seconds:g} s"
    how = ", connections log in only once" if order.is_ending else ""
    lines = [
        (
            f"{order.login}, {limits}{how}: {order.seconds:g} s of load, {figures.events:,} "
            "events, each published once"
        ),
        *(
            f"shard {shard}: longest gap {seconds:.2f} s"
            for shard, seconds in figures.longest_gaps.items()
        ),
        (
            f"shard restarts {figures.shard_restarts}, new tokens {figures.tokens}, "
            f"new connections {figures.logins}, renewed logins {figures.renewed_logins}, "
            f"errors {figures.errors}, warnings {figures.warnings}"
        ),
        *(f"  {complaint}" for complaint in figures.complaints),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
