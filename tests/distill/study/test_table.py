"""The Markdown tables of a study."""

import pytest

from distill.study.formatting import markdown_table


@pytest.mark.parametrize("name", ["a|b", "|", "two\nlines | one"])
def test_a_name_with_a_border_in_it_is_one_cell(name: str) -> None:
    columns, _, row = markdown_table(["Arm", "mAP50"], [[name, "1.0"]]).splitlines()
    assert row.replace(r"\|", "").count("|") == columns.count("|") == 3
