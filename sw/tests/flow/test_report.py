"""The keys of report.json: one schema, and the page made from it. Real reports are held to it where they are made."""

from __future__ import annotations

import jsonschema
import pytest
import report_page

from firstspike.flow import report

pytestmark = pytest.mark.smoke


def test_the_page_is_that_of_the_schema() -> None:
    page = report_page.PAGE.read_text()
    head, heading, table = page.partition(report_page.HEADING)
    assert head
    assert heading
    assert table == report_page.table(), "run: python sw/tests/report_page.py"


def test_the_schema_is_one_and_says_everything() -> None:
    jsonschema.Draft202012Validator.check_schema(report_page.SCHEMA)
    found = report_page.keys()
    assert len(found) > 100
    assert len(dict(found)) == len(found)
    for key, part in found:
        assert part["description"]
        kinds = {part["type"]} if isinstance(part.get("type"), str) else set(part.get("type", ()))
        numbers = kinds | {part.get("items", {}).get("type", "")}
        assert ("unit" in part) == bool(numbers & {"integer", "number"}), f"{key}: a number has a unit"
        assert ("null" in kinds) == ("null " in part["description"]), f"{key}: when it is null"
        if "properties" in part:
            assert part["additionalProperties"] is False, f"{key} may have any key"


@pytest.mark.parametrize("wrong", [{"mean": None}, {"mean": "12"}, {"more": 1}])
def test_another_form_is_refused(wrong: dict[str, object]) -> None:
    cycles = {
        "mean": 12.5, "max": 13, "predicted_mean": 12.5, "interval_mean": None, "interval_predicted_mean": None,
        "predicted_equal": True, "floor_mean": 9.0, "utilisation": None,
    }  # fmt: skip
    schema = {"$ref": "#/$defs/cycles", "$defs": report_page.SCHEMA["$defs"]}
    jsonschema.validate(cycles, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cycles | wrong, schema)


@pytest.mark.parametrize(("start", "window"), [(0, ""), (6, ", 7.84 of the output's window")])
def test_the_summary_says_once_when_the_class_is_known(start: int, window: str) -> None:
    """Where populations run in step, the output's window is that of the input."""
    found = {"step_mean": 7.84, "latency_mean": 7.84 + start, "undecided": 3}
    rows = report.steps_rows(
        {"fire_start": None, "steps": 16, "latency_steps": 16 + start, "readout": "first_spike", "decision": found}
    )
    assert rows["decision"] == f"in step {7.84 + start:.2f} on average{window}   3 images without output spike"
