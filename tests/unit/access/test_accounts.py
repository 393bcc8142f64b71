"""Tokens of service accounts: who makes them is known by the signature, whom they name by what is there (E14)."""

import base64
import json
import time
from typing import Any

import pytest

from mesh import jwt, pki
from mesh.access import accounts
from mesh.errors import Forbidden, Invalid
from mesh.model.kinds import Object
from mesh.model.podtokens import Wish, issued_at, name_of, next_at, wishes_of
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Pod, ServiceAccount
from mesh.view import View
from tests.harness import objects

KEY, OTHER = pki.wish().key, pki.wish().key
NOW = 1_800_000_000


def account(name: str = "robot", uid: str = "account-1") -> ServiceAccount:
    made = ServiceAccount()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "team", uid
    return made


def a_pod(uid: str = "pod-1", phase: str = "Running") -> Pod:
    made = objects.pod("web", "team", service_account_name="robot", node_name="a")
    made.metadata.uid, made.status.phase = uid, phase
    made.metadata.creation_timestamp.seconds = NOW - 100
    return made


def view(*objs: Object) -> View:
    return View(Snapshot(1, [objects.namespace("team"), *objs]))


def claims(**more: Any) -> dict[str, Any]:
    return {**accounts.claims_of(account(), a_pod(), [""], NOW, NOW + 3600), **more}


def test_a_token_is_read_by_the_key_that_signed_it_and_by_no_other() -> None:
    token = jwt.sign(claims(), KEY)
    assert jwt.read(token, KEY) == claims()
    assert jwt.sign(claims(), KEY) == token  # nobody has to remember one
    with pytest.raises(Forbidden, match="not made by this mesh"):
        jwt.read(token, OTHER)


def test_what_was_changed_or_is_none_is_refused() -> None:
    header, body, signature = jwt.sign(claims(), KEY).split(".")
    more = base64.urlsafe_b64encode(json.dumps(claims(sub="system:serviceaccount:kube-system:x")).encode())
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    other = jwt.sign(claims(), OTHER).split(".")[2]
    for token in (
        f"{header}.{more.rstrip(b'=').decode()}.{signature}", f"{none}.{body}.", f"{none}.{body}.{signature}",
        f"{header}.{body}.{other}", f"{header}.{body}.{'A' * 86}", f"{header}.{body}", "", "a.b.c", "é.é.é", "A" * 9000,
        f"{base64.urlsafe_b64encode(b'[1]').decode()}.{body}.{signature}",
    ):  # fmt: skip
        with pytest.raises(Forbidden) as raised:
            jwt.read(token, KEY)
        assert body not in raised.value.message


def test_only_a_p256_key_signs() -> None:
    with pytest.raises(Invalid, match="PEM"):
        jwt.sign(claims(), b"no key")


def test_it_names_the_account_and_its_groups() -> None:
    bearer = accounts.bearer_of(claims(), view(account(), a_pod()), NOW)
    assert bearer.who.name == "system:serviceaccount:team:robot"
    assert set(bearer.who.groups) == {
        "system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated",
    }  # fmt: skip
    assert (bearer.expires, bearer.pod, bearer.who.by) == (NOW + 3600, "web", "token of pod team/web")


@pytest.mark.parametrize(
    ("there", "at", "more", "why"),
    [
        ((account(), a_pod()), NOW + 3600, {}, "has expired"),
        ((account(), a_pod()), NOW - 61, {}, "not valid yet"),
        ((account(), a_pod()), NOW, {"aud": ["vault"]}, r"another audience \(vault\)"),
        ((account(), a_pod()), NOW, {"kubernetes.io": 1}, "none of a service account"),
        ((account(), a_pod()), NOW, {"exp": None}, "none of a service account"),
        ((a_pod(),), NOW, {}, 'account "robot".*not there any more'),
        ((account(uid="account-2"), a_pod()), NOW, {}, 'account "robot".*not there any more'),
        ((account(),), NOW, {}, 'for the pod "web"'),
        ((account(), a_pod(uid="pod-2")), NOW, {}, 'for the pod "web"'),
        ((account(), a_pod(phase="Succeeded")), NOW, {}, 'for the pod "web"'),
        ((account(), a_pod(phase="Failed")), NOW, {}, 'for the pod "web"'),
    ],
)
def test_when_it_does_not_count(there: tuple[Object, ...], at: int, more: dict[str, Any], why: str) -> None:
    with pytest.raises(Forbidden, match=why):
        accounts.bearer_of(claims(**more), view(*there), at)


def test_an_audience_is_asked_for_by_name() -> None:
    told = claims(aud=["vault", "db"])
    assert accounts.bearer_of(told, view(account(), a_pod()), NOW, ["db", "x"]).audiences == ("db",)


@pytest.mark.parametrize(
    ("seconds", "period"), [(600, 480), (3600, 2880), (3607, 2885), (86_400 * 30, 86_400), (0, 2880)]
)
def test_a_token_is_made_anew_at_80_percent_of_its_life_or_after_a_day(seconds: int, period: int) -> None:
    pod = a_pod()
    source = pod.spec.volumes.add(name="t").projected.sources.add().service_account_token
    source.path = "token"
    if seconds:
        source.expiration_seconds = seconds
    (wish,) = wishes_of(pod.spec)
    made = NOW - 100
    assert issued_at(pod, wish, made - 50) == made  # a clock that was set back
    assert issued_at(pod, wish, made + period - 1) == made
    assert next_at(pod, wish, made + 1) == made + period
    assert issued_at(pod, wish, made + period) == made + period
    assert issued_at(pod, wish, made + 10 * period + 5) == made + 10 * period
    assert made + 10 * period + wish.seconds > made + 11 * period  # what is there still counts when the next one comes


def test_tokens_are_told_apart_by_pod_audience_and_life() -> None:
    names = {name_of(uid, Wish(a, s)) for uid in ("u", "v") for a in ("", "vault") for s in (600, 3600)}
    assert len(names) == 8


def test_signing_takes_no_time_to_speak_of() -> None:
    began = time.process_time()
    for number in range(200):
        jwt.sign(claims(iat=number), KEY)
    assert time.process_time() - began < 2
