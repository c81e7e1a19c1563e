"""What the chart renders: valid manifests, and the promises of docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
import yaml

from scripts.chart import CHART, EVERY_SETTING, VALUES, invalid, problems, render
from tests.deploy.command_line import parsed

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def find(manifests: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name)]
    return found


def pod(manifests: list[dict[str, Any]], kind: str, role: str) -> dict[str, Any]:
    spec: dict[str, Any] = find(manifests, kind, f"-{role}")["spec"]["template"]["spec"]
    return spec


def containers(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in manifests:
        yield from (
            one["spec"].get("template", {}).get("spec", {}).get("containers", ()) if "spec" in one else ()
        )


def test_linter_and_schemas_object_to_nothing() -> None:
    assert list(problems()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "parallelism"), "four"),
        (("spec", "paralelism"), 4),
        (("spec", "template", "spec", "restartPolicy"), 1),
        (("spec", "template", "spec", "containers", 0, "resource"), {}),
    ],
)
def test_the_schemas_can_refuse(path: tuple[str | int, ...], value: Any) -> None:
    job = deepcopy(find(render({}), "Job", "-worker"))
    assert list(invalid(job)) == []
    place = job
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(invalid(job)) != []


def test_a_test_is_one_job_and_is_never_repeated() -> None:
    manifests = render({"workers": {"count": 7}})
    for role in ("master", "worker"):
        job = find(manifests, "Job", f"-{role}")
        assert job["spec"]["backoffLimit"] == 0
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    workers = find(manifests, "Job", "-worker")["spec"]
    (master,) = pod(manifests, "Job", "master")["containers"]
    assert workers["parallelism"] == workers["completions"] == 7
    assert "--workers=7" in master["args"]
    assert "command" not in master  # the exit code is that of the image's entry point


@pytest.mark.parametrize("name", VALUES)
def test_every_container_is_confined(name: str) -> None:
    manifests = render(VALUES[name])
    assert len(list(containers(manifests))) >= 2
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if container["name"] == "harness":
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for one in manifests:
        spec = one.get("spec", {}).get("template", {}).get("spec")
        if spec is not None:
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["runAsUser"] > 0
            assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", VALUES)
def test_every_command_is_one_of_the_harness(name: str) -> None:
    for container in containers(render(VALUES[name])):
        if container["name"] == "harness":
            assert parsed(container["args"])["_verb"] in ("load", "worker")


def test_the_token_is_a_file_from_the_secret_and_nowhere_else() -> None:
    manifests = render(VALUES["job"])
    for role in ("master", "worker"):
        spec = pod(manifests, "Job", role)
        container = spec["containers"][0]
        (volume,) = [one for one in spec["volumes"] if one["name"] == "token"]
        (mount,) = [one for one in container["volumeMounts"] if one["name"] == "token"]
        assert volume["secret"]["secretName"] == "agent-token"
        assert f"--token-file={mount['mountPath']}/token" in container["args"]
        assert "env" not in container
    assert "agent-token" not in str(find(manifests, "ConfigMap"))


def test_only_the_workers_reach_the_master() -> None:
    manifests = render({})
    policy = find(manifests, "NetworkPolicy")["spec"]
    (rule,) = policy["ingress"]
    labels = {
        role: find(manifests, "Job", f"-{role}")["spec"]["template"]["metadata"]["labels"]
        for role in ("master", "worker")
    }
    assert policy["podSelector"]["matchLabels"].items() <= labels["master"].items()
    assert not policy["podSelector"]["matchLabels"].items() <= labels["worker"].items()
    (allowed,) = rule["from"]
    assert allowed["podSelector"]["matchLabels"].items() <= labels["worker"].items()
    service = find(manifests, "Service", "-master")
    assert service["spec"]["selector"].items() <= labels["master"].items()
    (worker,) = pod(manifests, "Job", "worker")["containers"]
    assert f"--master={service['metadata']['name']}" in worker["args"]


def test_two_releases_have_nothing_in_common() -> None:
    names = [{(one["kind"], one["metadata"]["name"]) for one in render(VALUES["job"], name)} for name in "ab"]
    assert not names[0] & names[1]


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


#: Values that differ from those of VALUES, where a text or number would not do.
OTHER: dict[tuple[str, ...], Any] = {
    ("mode",): "web",
    ("image", "pullPolicy"): "Always",
    ("target", "url"): "https://other.example.com",
    ("locustfile", "name"): "other.py",
    ("networkPolicy", "enabled"): False,
}


@pytest.mark.parametrize("path", list(leaves(DEFAULTS)), ids=".".join)
def test_every_value_has_an_effect(path: tuple[str, ...]) -> None:
    values = deepcopy(VALUES["web" if path[0] == "web" else "job"])
    values["web"] = {"passwordSecret": "page"}
    if path == ("existingConfigMap",):
        values["config"] = ""
    before = render(values)
    default: Any = DEFAULTS
    place = values
    for key in path[:-1]:
        default = default[key]
        place = place.setdefault(key, {})
    default = default[path[-1]]
    if path in OTHER:
        place[path[-1]] = OTHER[path]
    elif isinstance(default, list):
        place[path[-1]] = [{"key": "other"}] if path[0] == "tolerations" else ["--other"]
    elif isinstance(default, Mapping):
        place[path[-1]] = {"other": "other"}
    else:
        place[path[-1]] = default + 1 if isinstance(default, int) else "9"
    assert render(values) != before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "web"}, "web.passwordSecret"),
        ({"config": "x = 1", "existingConfigMap": "y"}, "both set"),
        ({"results": {"upload": {"image": "x"}}}, "results.upload.command"),
        ({"worker": {"count": 3}}, "worker"),
        ({"workers": {"count": 0}}, "count"),
        ({"mode": "jobs"}, "mode"),
        ({"target": {"url": "agent.example.com"}}, "url"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=words):
        render(values)


def test_the_values_of_the_lint_are_known_values() -> None:
    assert set(EVERY_SETTING) <= set(DEFAULTS)
