"""The commands `adapterfleet k8s render | submit | status | logs | stop`.

Plain functions with typer's annotations. Each raises InputError for what the user can mend.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.cli.options import CampaignFile, Set, facts_table, load_file, path_option, variables
from orchestrator.clusters.k8s.options import load_options

Job = Annotated[str, typer.Argument(help="campaign file, campaign name, or name of the RayJob", metavar="CAMPAIGN")]
OptionsFile = Annotated[
    Path | None,
    path_option("--options", purpose="image, store, memory ... (YAML)"),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="namespace on the cluster")]
Context = Annotated[str | None, typer.Option("--context", help="context of the kubeconfig; default: the current one")]


def render(
    file: CampaignFile,
    options: OptionsFile = None,
    set_: Set = None,
    out: Annotated[
        Path | None,
        path_option("--out", "-o", purpose="file to write; default: standard output"),
    ] = None,
    standing: Annotated[bool, typer.Option("--standing", help="a RayCluster that stays, for many campaigns")] = False,
) -> None:
    """Write the RayJob and the ConfigMap of a campaign as YAML; no cluster is needed."""
    from orchestrator.clusters.k8s.manifests import as_yaml

    manifests = _rendered(file, options, set_, standing)
    text = as_yaml(manifests)
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    Console().print(f"written: {out} ({manifests[-1]['kind']} {manifests[-1]['metadata']['name']})", soft_wrap=True)


def submit(file: CampaignFile, options: OptionsFile = None, set_: Set = None, context: Context = None) -> None:
    """Start a campaign on the cluster; one that was stopped goes on from its finished steps."""
    from orchestrator.clusters.k8s.client import Kubernetes

    config_map, ray_job = _rendered(file, options, set_)
    notes = Kubernetes(ray_job["metadata"]["namespace"], context).submit(config_map, ray_job)
    console = Console()
    for note in notes:
        console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)
    where = f"RayJob {ray_job['metadata']['name']} in {ray_job['metadata']['namespace']}"
    console.print(f"submitted: {where}", soft_wrap=True)


def status(job: Job, namespace: Namespace = "adapterfleet", context: Context = None) -> None:
    """Show how a campaign stands on the cluster."""
    from orchestrator.clusters.k8s.client import Kubernetes

    state = Kubernetes(namespace, context).state(_job_name(job))
    deployment = state.deployment or "not taken up by the operator yet"
    facts = {
        "job": state.job or "not started",
        "deployment": f"being stopped since {state.stopping}" if state.stopping else deployment,
        "reason": state.reason,
        "message": state.message,
        "cluster": state.cluster,
        "started": state.started,
        "ended": state.ended,
        "failed tries": str(state.failed_tries),
        "waits": "\n".join(state.waits),
    }
    Console().print(facts_table(state.name, facts))


def logs(
    job: Job,
    namespace: Namespace = "adapterfleet",
    context: Context = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as lines come")] = False,
    tail: Annotated[int, typer.Option(min=1, help="lines from the end")] = 1000,
) -> None:
    """Print the driver's log."""
    from orchestrator.clusters.k8s.client import Kubernetes

    for line in Kubernetes(namespace, context).log_lines(_job_name(job), tail, "end" if follow else "now"):
        print(line)


def stop(job: Job, namespace: Namespace = "adapterfleet", context: Context = None) -> None:
    """Delete a campaign's RayJob and its cluster, and wait until they are gone; the store keeps what is finished."""
    from orchestrator.clusters.k8s.client import Kubernetes

    name = _job_name(job)
    Kubernetes(namespace, context).stop(name)
    done = f"stopped: RayJob {name} in {namespace}; `k8s submit` goes on from the finished steps"
    Console().print(done, soft_wrap=True)


def _rendered(file: Path, options: Path | None, set_: list[str] | None, standing: bool = False) -> list[dict[str, Any]]:
    from orchestrator.clusters.k8s.manifests import paths_of_this_machine, render_cluster
    from orchestrator.clusters.k8s.manifests import render as render_campaign
    from orchestrator.clusters.k8s.pods import WORKSPACE

    campaign = load_file(file, set_)
    for path in () if standing else paths_of_this_machine(campaign):
        line = f"note: {path} is a path of this machine; pods see {WORKSPACE} alone, unless a volume of yours is added"
        print(line, file=sys.stderr)
    if standing:
        return [render_cluster(campaign, load_options(options))]
    return render_campaign(campaign, file.read_text(encoding="utf-8"), load_options(options), variables(set_))


def _job_name(job: str) -> str:
    from orchestrator.clusters.k8s.manifests import is_made, kubernetes_name

    file = Path(job)
    if file.suffix in (".yaml", ".yml"):
        return kubernetes_name(load_file(file).campaign)
    # A RayJob's own name may be a shortened one, which must not be shortened again.
    return job if is_made(job) else kubernetes_name(job)
