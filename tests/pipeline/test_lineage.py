from pipeline.lineage import Lineage
from pipeline.report import summarize_run


def test_summaries_tell_of_each_run(demo):
    lineage = Lineage(str(demo.root / "metadata.sqlite"))
    first, second, third = (summarize_run(lineage, run_id) for run_id in lineage.run_ids[:3])
    assert [s.start for s in (first, second, third)] == ["scratch", "version 1", "version 1"]
    assert [s.all_cached for s in (first, second, third)] == [False, False, True]
    assert first.before is None
    assert second.after["mlm_accuracy"] > second.before["mlm_accuracy"]
    assert second.verdict.startswith("blessed: MLM accuracy +")
    assert second.verdict.endswith("against version 1")
    assert second.pushed_to == str(demo.encoders / "2")
    assert third.pushed_to is None
    assert lineage.nodes(lineage.run_ids[0])["Trainer"].seconds > 1
    assert lineage.pushed_versions() == {
        lineage.nodes(run_id)["Trainer"].outputs["model"].id: version
        for run_id, version in zip(lineage.run_ids, "12", strict=False)
    }
