"""The words that the rules look for, strongest reading first; written by hand, adjusted on the tuning conversations.

A pattern is a list of alternatives without nested repetition, so reading a text takes time in proportion to it.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern and how much it says; 1 decides by itself."""

    pattern: re.Pattern[str]
    weight: float


def _any_of(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


NO: Final = (
    Sign(
        _any_of(
            r"别再?打(?:了|给我|过来)?",
            r"不要再?(?:给我)?打",
            r"别(?:再|来|再来)?(?:骚扰|烦我)",
            r"骚扰电话|投诉|拉黑|骗子|诈骗",
            r"(?:stop|quit|don'?t) call(?:ing)?",
            r"(?:take|remove) me (?:off|from)",
            r"do not call|scam|harass|report (?:you|this)",
        ),
        2.0,
    ),
    Sign(
        _any_of(
            r"(?:不|没有?|毫无)(?:太|怎么|什么|是很|再|啥)?(?:感)?兴趣",
            r"不(?:太|再|是很)?(?:需要|想要|想买|想了解|想听|考虑)了?",
            r"没有?(?:这个|这方面|那个)?(?:需求|需要|必要|打算|计划)",
            r"暂时不|不用了?|用不[着上]|算了|不要了?|不买|不办|不参加|不去|不想|不方便加",
            r"已经[买办有报装换][过好了]|买过了|有了",
            r"not (?:really |very |that |at all )?interested|no interest|no longer interested",
            r"don'?t (?:really )?(?:need|want)|not (?:looking|buying|for me)",
            r"no,? thanks?|not now,? thank|i'?m (?:good|fine|all set)|already (?:have|bought|got|signed)",
            r"rather not|pass on|i'?ll pass|never ?mind|forget it|changed my mind",
        ),
        1.5,
    ),
    Sign(_any_of(r"太贵|贵了|没钱|没时间|没空|too expensive|can'?t afford|waste of time"), 0.5),
)
YES: Final = (
    Sign(
        _any_of(
            r"感兴趣|[有很蛮]兴趣",
            r"\b(?:i'?m|i am|we'?re|yes|very|quite|really|definitely|pretty|still),? (?:\w+ )?interested",
            r"sign me up|count me in|i'?d love|sounds (?:great|good|interesting|perfect)",
            r"i want (?:to|one|it)|let'?s do (?:it|that)",
        ),
        2.0,
    ),
    Sign(
        _any_of(
            r"加(?:我|个|一下|下)?的?(?:微信|wx|vx)",
            r"[发寄传](?:我|给我|一?份|点|个|到)?.{0,6}(?:资料|材料|详情|报价|方案|链接|短信|微信|邮箱)",
            r"(?:怎么|如何|在哪)(?:办|报名|买|购买|收费|申请|参加|预约|联系)",
            r"多少钱|什么价|价格(?:是|多少|怎么)|有(?:什么)?优惠",
            r"(?:想|要|可以|愿意)(?:了解|看看|试试|体验|报名|预约|办|买|购买|参加|考虑一下)",
            r"[帮给]我(?:约|安排|报|预约|登记|留)",
            r"(?:约|安排)(?:个|在|一下)?(?:时间|周|明天|后天|下午|上午)",
            r"send (?:me|it|us|over)|email me|text me|how much|tell me more|go ahead",
            r"what(?:'s| is| are) (?:the )?(?:price|cost|fee|rate)",
            r"how (?:do|can) i (?:sign|join|buy|book|apply|order)",
            r"(?:like|want|love) to (?:know|hear|learn|see|try|book|visit|join|buy)",
            r"book (?:me|an?)\b|schedule (?:an?|me)\b",
        ),
        1.5,
    ),
    Sign(_any_of(r"不错|挺好|听起来|了解一下|可以[的啊呀]?考虑|i might|maybe i could|worth a look"), 0.5),
)
LATER: Final = _any_of(
    r"(?:等|过|晚|改|回头|待会|一会|稍后|下次|下午|明天|有空|下班).{0,6}(?:再[说打聊]|再联系|打给我|打过来|打来|联系|回[你电])",
    r"在(?:开会|开车|忙|上班|上课)|正(?:忙|开车|开会)|现在(?:忙|不方便|没空|没时间)|不方便[接说讲]?",
    r"考虑考虑|再想想|商量",
    r"call (?:me )?(?:back|later|again|another|tomorrow|tonight|after)|\blater\b|bad time|not a good time",
    r"(?:in a|in the middle of a|at a) meeting|(?:i'?m|am) (?:driving|busy|at work)|think about it|talk to my",
)
WRONG_NUMBER: Final = _any_of(
    r"打错|错号|不是(?:他|她|本人|机主|这个人|你要?找的)|没有?这个人|不认识(?:他|她|这个)|换了?(?:号|机主)",
    r"打错了?.{0,4}我不?是|[他她](?:不在|出去)|我是[他她]的?(?:老婆|妻子|丈夫|妈|爸|同事|家人|儿子|女儿)",
    r"wrong (?:number|person)|no one (?:here )?(?:by|with) that|not (?:him|her|the person)\b",
    r"doesn'?t (?:live|work) here|s?he'?s not (?:here|in|available)",
    r"this is (?:his|her) (?:wife|husband|mother|father|son|daughter|colleague)",
)
MACHINE: Final = _any_of(
    r"语音(?:信箱|助手|服务|留言)|留言(?:信箱|服务)|请在?.{0,6}[滴嘟].{0,3}[声后].{0,4}留言|[您你](?:拨打|呼叫)的",
    r"(?:用户|电话|号码).{0,4}(?:正忙|无法接通|已关机)|智能(?:助理|助手|秘书)|来电(?:助手|秘书|提醒)|机主[正现不暂]",
    r"after the (?:tone|beep)|leave (?:a|your) message|voice ?mail|virtual assistant|(?:record|state) your name",
    r"(?:person|number|subscriber|customer) you(?: are| have|'ve|'re)|not available (?:to take|right now)",
)
BARE_YES: Final = _any_of(
    r"嗯|对|好|行|可以|是|没问题|当然|有|需要|要|想|愿意|方便|哎|啊|那|吧|呀|呢|的",
    r"\b(?:okay|ok|yes|yeah|yep|sure|of course|please|certainly|alright|all right|fine|great|good|absolutely)\b",
    r"\b(?:i do|i would|that works|why not)\b",
)
BARE_NO: Final = _any_of(
    r"不好意思|抱歉|谢谢|不是|不了|不行|不可以|没有|没|不|哦|嗯|啊|的",
    r"\b(?:nope|nah|no|not|really|thanks|thank you|sorry|i don'?t|i think|so)\b",
)
NEGATION: Final = _any_of(r"不(?!好意思)|没|\bno|\bnah\b|don'?t")
CLOSED_QUESTION: Final = _any_of(
    r"[吗么呢不][\s?？。]*$|是否|有没有|要不要|需不需要|感不感",
    r"would you|are you|do you|can (?:i|we)|may (?:i|we)|shall|interested",
)
OFFER: Final = _any_of(
    r"[感有]兴趣|了解|需要|考虑|加.{0,4}微信|发.{0,8}(?:资料|短信|微信)|预约|报名|参加|体验|试听|安排|登记|上门|到店|办理",
    r"interested|would you like|want (?:me )?to|send you|sign (?:you )?up|book|schedule|join|try|arrange|visit",
)
