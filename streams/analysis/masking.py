"""Taking out of texts what tells who somebody is, before they leave, and again when they come back. Pure.

What has a form is found by its form: telephone, identity and card numbers, in digits or spoken, addresses of mail and
accounts of messengers. Letters that only look otherwise are made plain first, and what nobody sees is left out, so that
neither hides a number. Speech recognition breaks a number where somebody breathes: turns of one speaker are looked at
as one text. A name has no form. It is found only where the form of address gives it away: "王建国先生", "Mr. Collins".
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_BREAK: Final = "\x1e"
_DIGIT: Final = r"[\d零〇一二三四五六七八九幺两洞拐勾壹贰叁肆伍陆柒捌玖]"
_GAP: Final = r"(?:[\s.,，、。()（）/–—杠\u0300-\u036f-]|嗯|啊|呃|然后|横杠){0,3}"
_EXTENSION: Final = rf"(?:[\s,，]{{0,2}}(?:转|分机|extension|ext\.?)[\s号是:：]{{0,2}}{_DIGIT}{{1,6}})?"
_WORD: Final = r"(?:zero|oh|nought|one|two|three|four|five|six|seven|eight|nine|double|triple|hundred|dash)"
_SERVICE: Final = r"(?:微信|薇信|v信|vx|wechat|weixin|whatsapp|telegram|skype|instagram|抖音|qq)"
_SURNAMES: Final = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪"
    "范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤赖欧常温康施文牛樊葛邢安齐易乔伍庞"
    "颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁"
)
_TITLES: Final = "先生|女士|小姐|太太|老师|经理|师傅|老板|医生|主任|总(?![是共体能算的得数之会要])"

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,32}){1,4}")
_ACCOUNT: Final = re.compile(
    rf"(?P<before>{_SERVICE}(?:号码|账号|号|id)?(?:是|叫| is|[:：,，\s@]){{0,4}})"
    r"(?P<account>(?:(?<=[号:：@])|(?<=号是)|(?<=id is )|(?=[a-z_]*[\d_-]))[a-z_][\w.-]{4,30}|\d{5,})|wxid_\w+",
    re.IGNORECASE | re.ASCII,
)
_NUMBER: Final = re.compile(
    rf"[+＋(（]?(?:(?<![A-Za-z])[A-Za-z]{{1,2}})?(?:{_DIGIT}{_GAP}){{6,}}{_DIGIT}[Xx]?{_EXTENSION}"
    rf"|(?:\b{_WORD}\b[\s,-]{{0,3}}){{7,}}",
    re.IGNORECASE,
)
_NAMES: Final = (
    re.compile(rf"(?P<before>)[{_SURNAMES}][\u4e00-\u9fff]{{0,2}}?(?={_TITLES})"),
    re.compile(rf"(?P<before>(?:请问|您|你)是(?:不是)?)[{_SURNAMES}][\u4e00-\u9fff]{{1,2}}(?=吗|么|吧|本人)"),
    re.compile(r"(?P<before>我叫|名字叫|名字是|免贵姓|我姓|他姓|她姓)[\u4e00-\u9fff]{1,3}"),
    re.compile(r"(?P<before>\b(?:Mr|Mrs|Ms|Miss|Dr|Doctor)\.? )[A-Z][\w'-]+(?: [A-Z][\w'-]+)?"),
    re.compile(
        r"(?P<before>\b(?:[Mm]y name is|[Tt]his is|[Ss]peak(?:ing)? (?:with|to)|[Ii]s this|[Yy]ou're|[Ii]'m) )"
        r"(?!I\b)[A-Z][\w'-]+(?: [A-Z][\w'-]+)?"
    ),
)


_UNUSUAL: Final = re.compile(r"[^\x00-\x7f\u3000-\u30ff\u4e00-\u9fff]|\x1e")
_BLANKS: Final = frozenset("\u034f\u115f\u1160\u3164\uffa0\u180b\u180c\u180d")


def mask(text: str) -> str:
    """Return the text with `[email]`, `[account]`, `[number]` and `[name]` in place of what was found."""
    return mask_all([text])[0]


def mask_all(texts: Sequence[str]) -> list[str]:
    """Return what one speaker said, turn by turn, masked; a number in pieces is found across turns."""
    text = _BREAK.join(_UNUSUAL.sub(_plain, each) for each in texts)
    text = _EMAIL.sub("[email]", text)
    text = _ACCOUNT.sub(lambda match: f"{match['before'] or ''}[account]", text)
    text = _NUMBER.sub(_number, text)
    for pattern in _NAMES:
        text = pattern.sub(r"\g<before>[name]", text)
    return text.split(_BREAK)


def _number(match: re.Match[str]) -> str:
    return _BREAK.join(["[number]"] * (1 + match[0].count(_BREAK)))


def _plain(match: re.Match[str]) -> str:
    return _plain_letter(match[0])


@lru_cache(maxsize=4096)
def _plain_letter(letter: str) -> str:
    """Return the letter or digit of ASCII that another one only looks unlike, and nothing for what nobody sees."""
    if unicodedata.category(letter) == "Cf" or letter in _BLANKS or "\ufe00" <= letter <= "\ufe0f" or letter == _BREAK:
        return ""
    if unicodedata.category(letter) == "Cs":
        return "\ufffd"
    plain = unicodedata.normalize("NFKC", letter)
    return plain if plain.isascii() and plain.isalnum() else letter
