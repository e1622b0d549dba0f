"""What tells who somebody is does not leave."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import Turn
from streams.analysis.masking import mask
from streams.analysis.prompting import document_of


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("打我手机13800138000吧", "打我手机[number]吧"),
        ("138 0013 8000", "[number]"),
        ("座机是021-5555 1234", "座机是[number]"),
        ("幺三八零零一三八零零零", "[number]"),
        ("一三八，零零幺三，八零零零", "[number]"),
        ("身份证11010519491231002X", "身份证[number]"),
        ("卡号6222 0200 1234 5678 901", "卡号[number]"),
        ("１３８００１３８０００", "[number]"),
        ("+86 138-0013-8000", "[number]"),
        ("0086 13800138000", "[number]"),
        ("(021) 5555 1234 转 8012", "[number]"),
        ("座机 010-62345678-801", "座机 [number]"),
        ("打02155551234，分机8012", "打[number]"),
        ("call 020 7946 0958 ext. 12", "call [number]"),
        ("138\u200b0013\u200b8000", "[number]"),
        ("1\u20603\u00ad8\ufe0f00138000", "[number]"),
        ("①③⑧⓪⓪①③⑧⓪⓪⓪", "[number]"),
        ("𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎", "[number]"),
        ("١٣٨٠٠١٣٨٠٠٠", "[number]"),
        ("一三八 零零一三 八零零零", "[number]"),
        ("一三八，嗯，零零一三，然后八零零零", "[number]"),
        ("零二一杠五五五五一二三四", "[number]"),
        ("洞两幺五五五五拐勾四", "[number]"),
        ("壹叁捌零零壹叁捌零零零", "[number]"),
        ("138 零零一三 8000", "[number]"),
        ("微信号是wxid_8f3kq02ls1", "微信号是[account]"),
        ("你加我微信，lilei-1988", "你加我微信，[account]"),
        ("my WeChat is tom_collins88", "my WeChat is [account]"),
        ("QQ 123456", "QQ [account]"),
        ("whatsapp: @tomcollins", "whatsapp: @[account]"),
        ("110105 1949 1231 002X", "[number]"),
        ("护照E12345678", "护照[number]"),
        ("call me at one three eight double zero one three eight", "call me at [number]"),
        ("write to li.lei+crm@example.com.cn please", "write to [email] please"),
        ("您好，请问是王建国先生吗", "您好，请问是[name]先生吗"),
        ("请问是王建国吗", "请问是[name]吗"),
        ("找一下李女士", "找一下[name]女士"),
        ("我叫陈小明，怎么了", "我叫[name]，怎么了"),
        ("Am I speaking with Tom Collins?", "Am I speaking with [name]?"),
        ("Hello Mr. Collins", "Hello Mr. [name]"),
        ("My name is Amy", "My name is [name]"),
    ],
)
def test_numbers_and_names_in_known_forms_are_taken_out(text: str, masked: str) -> None:
    """In digits, in spoken digits, with separators; names where the form of address gives them away."""
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "三点半来，一共两千八",
        "一个月98块，一年一千二",
        "今年2026年",
        "先生您贵姓",
        "I'm interested",
        "价格是128800元",
        "我们一九九八年开的",
        "加个微信吧，发我看看",
        "微信上说",
        "send it on wechat please",
        "转给我同事",
    ],
)
def test_what_identifies_nobody_stays(text: str) -> None:
    """Prices, times and years are what a conversation is about."""
    assert mask(text) == text


def test_a_number_said_in_pieces_is_taken_out_of_each_of_them() -> None:
    """Speech recognition breaks where somebody breathes, and the robot says `mhm` in between."""
    spoken = [
        ("Contact", "138"),
        ("Robot", "嗯"),
        ("Contact", "零零一三"),
        ("Robot", "好的"),
        ("Contact", "8000，找我就行"),
    ]
    turns = json.loads(document_of([Turn(speaker=who, script=text) for who, text in spoken]))["conversation"]
    assert [turn["text"] for turn in turns] == ["[number]", "嗯", "[number]", "好的", "[number]，找我就行"]
    kept = [("Contact", "两千八"), ("Robot", "一年"), ("Contact", "三个人，下午三点")]
    turns = json.loads(document_of([Turn(speaker=who, script=text) for who, text in kept]))["conversation"]
    assert [turn["text"] for turn in turns] == [text for _, text in kept]


@given(st.text(), st.text(alphabet="0123456789", min_size=7, max_size=19), st.text())
def test_no_long_number_survives(before: str, number: str, after: str) -> None:
    """Wherever it stands, and masking again changes nothing."""
    masked = mask(before + number + after)
    assert number not in masked
    assert mask(masked) == masked


@pytest.mark.timeout(10)
def test_masking_takes_time_in_proportion() -> None:
    """No pattern backtracks over what the callee says."""
    for words in (
        "1 ",
        "一，",
        "王",
        "one ",
        "a.",
        "a@",
        "请问是王",
        "Mr A",
        "微信",
        "微信,",
        "wxid",
        "a1",
        "+(",
        "1嗯",
        "分机1",
        "\u200b1",
    ):
        mask(words * 15_000)
