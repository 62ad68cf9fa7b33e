"""When and where jobs run, and what is recorded: campaign, plan, execution, lineage, report."""
