"""What HAProxy's workers have counted, told as figures that only grow and stay few."""

from dataclasses import replace

from netproxy.ingress.routes import Plan, Pool, plan_of
from netproxy.ingress.tallies import DOOR, MOST, MOST_ROUTES, OTHERS, Tallies, routes_of

HEAD = "# pxname,svname,scur,stot,bin,bout,dreq,econ,eresp,wretr,act," \
       "hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,req_tot,qtime,ctime,rtime,ttime,\n"  # fmt: skip
WEB, API = "default:shop:web:80", "default:shop:api:http"
PLAN = replace(plan_of({}, {}, {}, {}), pools={name: Pool(name, "default/shop", None, "") for name in (WEB, API)})  # type: ignore[arg-type]


def said(name: str, requests: int, *, open_: int = 0, failed: int = 0, milliseconds: int = 0, backends: int = 2) -> str:
    """A worker's words of one frontend or backend."""
    kind = "FRONTEND" if name == DOOR else "BACKEND"
    good = requests - failed
    return (f"{name},{kind},{open_},{requests},{requests * 10},{requests * 100},1,2,3,4,{backends},"
            f"0,{good},0,0,{failed},0,{requests},1,2,{milliseconds},{milliseconds + 3},\n")  # fmt: skip


def test_every_column_is_where_it_belongs() -> None:
    tallies = Tallies()
    tallies.take({7: HEAD + said(DOOR, 9) + said(WEB, 5, open_=2, failed=1, milliseconds=250)})
    figures = tallies.told(PLAN, 7)
    assert (figures.up, figures.door.requests, figures.ending) == (True, 9, 0)
    api, web = figures.pools
    assert (web.namespace, web.ingress, web.service, web.port, web.backends) == ("default", "shop", "web", "80", 2)
    assert (api.service, api.traffic.requests, api.backends) == ("api", 0, 0)
    traffic = web.traffic
    assert (traffic.requests, traffic.open, traffic.bytes_in, traffic.bytes_out) == (5, 2, 50, 500)
    assert (traffic.denied, traffic.connect_errors, traffic.response_errors, traffic.retries) == (1, 2, 3, 4)
    assert list(traffic.responses) == [0, 4, 0, 0, 1, 0]
    means = (traffic.queue_time, traffic.connect_time, traffic.response_time, traffic.total_time)
    assert means == (0.001, 0.002, 0.25, 0.253)


def test_what_workers_that_ended_had_counted_is_kept() -> None:
    tallies = Tallies()
    tallies.take({7: HEAD + said(WEB, 5, open_=1)})
    tallies.take({7: HEAD + said(WEB, 6, open_=1, milliseconds=900), 8: HEAD + said(WEB, 2, open_=3, milliseconds=5)})
    both = tallies.told(PLAN, 8)
    assert (both.pools[1].traffic.requests, both.pools[1].traffic.open, both.ending) == (8, 4, 1)
    assert both.pools[1].traffic.response_time == 0.005  # of the worker that takes connections
    tallies.take({8: HEAD + said(WEB, 4)})
    after = tallies.told(PLAN, 8)
    assert (after.pools[1].traffic.requests, after.pools[1].traffic.open, after.ending) == (10, 0, 0)


def test_a_worker_that_says_nothing_has_what_it_had() -> None:
    tallies = Tallies()
    tallies.take({7: HEAD + said(WEB, 5)})
    tallies.take({7: ""})
    assert tallies.told(PLAN, 7).pools[1].traffic.requests == 5
    assert not tallies.told(PLAN, 0).up


def test_pools_that_are_gone_are_not_told_and_many_are_told_as_one() -> None:
    names = [f"default:shop:web{n:04}:80" for n in range(MOST + 3)]
    plan = Plan(pools=dict.fromkeys(names, PLAN.pools[WEB]))
    tallies = Tallies()
    tallies.take({7: HEAD + said(WEB, 5) + "".join(said(name, 1, open_=1) for name in names)})
    pools = tallies.told(plan, 7).pools
    assert len(pools) == MOST + 1
    assert (pools[-1].ingress, pools[-1].traffic.requests, pools[-1].traffic.open) == (OTHERS, 3, 3)


def test_hosts_and_paths_are_named_with_where_they_lead() -> None:
    plan = Plan(
        hosts={"shop.test": "s0", "": "s1"}, exact={("s0", "/pay"): API}, prefixes={("s0", ""): WEB, ("s1", "/a"): WEB},
        rest={"s1": API}, default=WEB, pools=PLAN.pools,
    )  # fmt: skip
    found = {pool: [(r.host, r.path, r.type) for r in routes] for pool, routes in routes_of(plan).items()}
    assert found == {
        API: [("shop.test", "/pay", "Exact"), ("", "", "")],
        WEB: [("shop.test", "/", "Prefix"), ("", "/a", "Prefix"), ("", "", "")],
    }
    many = Plan(hosts={"": "s0"}, prefixes={("s0", f"/{n}"): WEB for n in range(MOST_ROUTES + 5)}, pools=PLAN.pools)
    assert sum(len(routes) for routes in routes_of(many).values()) == MOST_ROUTES
