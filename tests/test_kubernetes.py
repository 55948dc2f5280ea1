"""`servey kubernetes`: its manifests are valid by the schemas of Kubernetes, and what they refer to is there."""

import kubernetes_validate
import pytest
import yaml

from servey import ConfigError, Settings
from servey.kubernetes import Deployed, as_yaml, manifests
from tests.serving import run

VERSIONS = ("1.28", "1.33", "1.36")
SHOP = Deployed(
    "shop", "shop:1", "shop-env", migrate="alembic upgrade head", prometheus="http://prometheus:9090", most_replicas=6
)


def printed(deployed=SHOP, **settings):
    """Return the manifests as a YAML parser reads them, by kind and name."""
    read = yaml.safe_load_all(as_yaml(manifests(deployed, Settings(**settings))))
    return {(each["kind"], each["metadata"]["name"]): each for each in read}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid_by_the_schemas_of_kubernetes(version):
    found = printed()
    assert len(found) == 10
    for (kind, _), manifest in found.items():
        if kind != "ScaledObject":
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelled_field_would_be_noticed():
    manifest = printed()["Deployment", "shop-web"]
    manifest["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_selectors_ports_and_names_refer_to_what_is_there():
    found = printed()
    for role, port in (("web", 8000), ("worker", 8001)):
        template = found["Deployment", f"shop-{role}"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        labels = template["metadata"]["labels"]
        assert found["PodDisruptionBudget", f"shop-{role}"]["spec"]["selector"]["matchLabels"] == labels
        policy = found["NetworkPolicy", f"shop-{role}"]["spec"]
        assert policy["podSelector"]["matchLabels"] == labels
        assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
        assert [each["containerPort"] for each in container["ports"]] == [port]
        assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {port}
        assert container["envFrom"] == [{"secretRef": {"name": "shop-env"}}]
    assert (
        found["Service", "shop"]["spec"]["selector"]
        == found["Deployment", "shop-web"]["spec"]["selector"]["matchLabels"]
    )
    scaling = found["HorizontalPodAutoscaler", "shop-web"]["spec"]
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (2, 6)
    assert found["ScaledObject", "shop-worker"]["spec"]["scaleTargetRef"] == {"name": "shop-worker"}


def test_a_process_has_as_long_to_end_as_its_settings_say():
    found = printed(drain=7, grace=20, job_grace=90)
    periods = [
        found["Deployment", f"shop-{role}"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for role in ("web", "worker")
    ]
    assert periods == [32, 95]


def test_an_app_without_jobs_has_no_workers():
    kinds = printed(Deployed("shop", "shop:1", "shop", workers=0, prometheus="http://prometheus:9090"))
    assert sorted(kinds) == [
        ("Deployment", "shop-web"),
        ("HorizontalPodAutoscaler", "shop-web"),
        ("NetworkPolicy", "shop-web"),
        ("PodDisruptionBudget", "shop-web"),
        ("Service", "shop"),
    ]


def test_a_name_that_kubernetes_refuses_is_refused():
    with pytest.raises(ConfigError, match="--name My_Shop must have up to 42"):
        manifests(Deployed("My_Shop", "shop:1", "shop"), Settings())


def test_the_command(tmp_path):
    done = run("-m", "servey", "kubernetes", "--image", "shop:1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["kind"] for each in yaml.safe_load_all(done.stdout)][:2] == ["Deployment", "Service"]
    assert "Missing option '--image'" in run("-m", "servey", "kubernetes", cwd=tmp_path).stderr
