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
    kinds = printed(Deployed("shop", "shop:1", "shop", workers=0))
    assert sorted(kinds) == [
        ("Deployment", "shop-web"),
        ("HorizontalPodAutoscaler", "shop-web"),
        ("NetworkPolicy", "shop-web"),
        ("PodDisruptionBudget", "shop-web"),
        ("Service", "shop"),
    ]


def test_applying_a_new_version_leaves_the_numbers_of_the_autoscalers():
    scaled, fixed = printed(), printed(Deployed("shop", "shop:1", "shop", workers=3))
    assert "replicas" not in scaled["Deployment", "shop-web"]["spec"]
    assert "replicas" not in scaled["Deployment", "shop-worker"]["spec"]
    assert "replicas" not in fixed["Deployment", "shop-web"]["spec"]
    assert fixed["Deployment", "shop-worker"]["spec"]["replicas"] == 3


def test_each_version_has_a_migration_of_its_own():
    """Kubernetes refuses a change of a Job."""

    def migration(image, command="alembic upgrade head"):
        (name,) = [name for kind, name in printed(Deployed("s" * 42, image, "shop", migrate=command)) if kind == "Job"]
        assert len(name) <= 63
        return name

    names = [migration("shop:1"), migration("shop:2"), migration("shop:1", "python migrate.py")]
    assert len(set(names)) == 3
    assert migration("shop:1") == names[0]


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["My_Shop", "", "1shop", "-shop", "shop-", "shop.one", "s" * 43, "shop\n", "süß"])
def test_a_name_that_kubernetes_refuses_is_refused(name):
    with pytest.raises(ConfigError, match=r"--name .* must have up to 42"):
        manifests(Deployed(name, "shop:1", "shop"), Settings())


@pytest.mark.parametrize(
    "image", ["", " ", "shop 1", "Shop:1", "shop:", ":1", "shop:a:b", "http://registry/shop:1", "$IMAGE"]
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ConfigError, match=r"--image .* is not the name of an image"):
        manifests(Deployed("shop", image, "shop"), Settings())


@pytest.mark.parametrize(
    "image",
    ["shop", "shop:1", "registry.example/team/shop:v1.2-3_4", "localhost:5000/shop", "[::1]:5000/shop:1", "shop@sha256:" + "0" * 64],
)  # fmt: skip
def test_every_image_is_taken(image):
    container = printed(Deployed("shop", image, "shop"))["Deployment", "shop-web"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["image"] == image


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"secret": ""}, "--secret '' is not the name of a Secret"),
        ({"secret": "Shop_Env"}, "--secret Shop_Env is not the name of a Secret"),
        ({"secret": "a" * 254}, "is not the name of a Secret: up to 253"),
        ({"replicas": 0}, "--replicas 0 must be at least 1"),
        ({"most_replicas": -1}, "--most-replicas -1 must be at least 1"),
        ({"workers": -1}, "--workers -1 must be at least 0"),
        ({"replicas": 11}, "--replicas 11 is more than --most-replicas 10; raise --most-replicas"),
        ({"workers": 11, "prometheus": "http://p"}, "--workers 11 is more than --most-replicas 10"),
        ({"workers": 0, "prometheus": "http://p"}, "--prometheus scales workers, but with --workers 0 there are none"),
        ({"prometheus": ""}, "--prometheus '' is not a URL"),
        ({"prometheus": "prometheus:9090"}, "--prometheus prometheus:9090 is not a URL"),
        ({"prometheus": "http://p:x"}, "--prometheus http://p:x is not a URL"),
        ({"migrate": " "}, "--migrate has no command"),
    ],
)
def test_each_value_that_kubernetes_refuses_is_refused(changed, problem):
    with pytest.raises(ConfigError) as refused:
        manifests(Deployed(**{"name": "shop", "image": "shop:1", "secret": "shop", **changed}), Settings())
    assert problem in str(refused.value)


def test_all_problems_are_named_together():
    with pytest.raises(ConfigError) as refused:
        manifests(Deployed("S", "", "_", replicas=0), Settings())
    assert [each.split()[0] for each in refused.value.problems] == ["--name", "--image", "--secret", "--replicas"]


# ---------------------------------------------------------------------------------------------------- the command


NIGHTLY = """
from servey import CronTrigger, FixedRateTrigger, WEB_GET, action, background_action_channel


@action(triggers=(CronTrigger("0 3 * * *"), FixedRateTrigger(60)))
def clean() -> None: ...


@action(triggers=WEB_GET)
def resize(width: int) -> int:
    return width
"""


def kubernetes(folder, *words):
    return run("-m", "servey", "kubernetes", *words, cwd=folder)


def test_the_command(tmp_path):
    done = kubernetes(tmp_path, "--image", "shop:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["kind"] for each in yaml.safe_load_all(done.stdout)][:2] == ["Deployment", "Service"]
    assert "Missing option '--image'" in kubernetes(tmp_path).stderr


def test_schedules_and_jobs_need_a_worker(tmp_path):
    (tmp_path / "actions.py").write_text(NIGHTLY, encoding="utf-8")
    channels = "from actions import resize\nfrom servey import background_action_channel\n"
    channels += 'resized = background_action_channel(resize, name="resized")\n'
    (tmp_path / "event_channels.py").write_text(channels, encoding="utf-8")
    done = kubernetes(tmp_path, "--image", "shop:1", "--workers", "0", "-o", "shop.yml")
    assert (done.returncode, done.stderr) == (
        1,
        "error: --workers 0: only a worker would run the schedule of 'clean', the channel 'resized'; use --workers 1, or for "
        "a single web server without Redis --replicas 1 --most-replicas 1\n",
    )
    assert not (tmp_path / "shop.yml").exists()
    alone = ("--replicas", "1", "--most-replicas", "1")
    assert kubernetes(tmp_path, "--image", "shop:1", "--workers", "0", *alone).returncode == 0


def test_a_database_without_a_migration_is_pointed_out(tmp_path):
    (tmp_path / "alembic.ini").write_text("", encoding="utf-8")
    done = kubernetes(tmp_path, "--image", "shop:1")
    assert (done.returncode, done.stderr.partition(";")[0]) == (0, "warning: no Job migrates the database")
    assert kubernetes(tmp_path, "--image", "shop:1", "--migrate", "alembic upgrade head").stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--image", ""), 1, "error: --image '' is not the name of an image"),
        (("--image", "shop:1", "--replicas", "0"), 2, "'--replicas'"),
        (("--image", "shop:1", "--workers", "-1"), 2, "'--workers'"),
        (("--image", "shop:1", "--most-replicas", "few"), 2, "'--most-replicas'"),
        (("--image", "shop:1", "--secret", ""), 1, "error: --secret '' is not the name of a Secret"),
        (("--image", "shop:1", "-o", "none/shop.yml"), 1, "error: none/shop.yml cannot be written"),
    ],
)
def test_bad_options_are_named(tmp_path, words, code, said):
    done = kubernetes(tmp_path, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
