"""The words that the rules look for, strongest reading first; made from the tuning conversations only."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern and how much it says; 1 decides by itself."""

    pattern: re.Pattern[str]
    weight: float


def _signs(weight: float, *patterns: str) -> list[Sign]:
    return [Sign(re.compile("|".join(patterns)), weight)]


NO: Final = [
    *_signs(
        2.0,
        r"别再?打(了|给我|过来)?|不要再?(给我)?打|别(再)?(来)?(骚扰|烦我)|骚扰电话|投诉|拉黑|骗子|诈骗",
        r"(stop|quit|don'?t) (calling|call)|(take|remove) me (off|from)|do not call|scam|harass|report (you|this)",
    ),
    *_signs(
        1.5,
        r"(不|没有?|毫无)(太|怎么|什么|是很|再|啥)?(感)?兴趣|不(太|再|是很)?(需要|想要|想买|想了解|想听|考虑)了?|没(有)?(这个|这方面|那个)?(需求|需要|必要|打算|计划)",
        r"暂时不|不用了?|用不(着|上)|算了|不要了?|不买|不办|不参加|不去|不想|不方便加|已经(买|办|有|报|装|换)(过|好|了)|买过了|有了",
        r"not (really |very |that |at all )?interested|no interest|no longer interested|don'?t (really )?(need|want)|not (looking|buying|for me)",
        r"no,? thank|no thanks|not now,? thank|i'?m (good|fine|all set)|already (have|bought|got|signed)|rather not|pass on|i'?ll pass|never ?mind|forget it|changed my mind",
    ),
    *_signs(0.5, r"太贵|贵了|没钱|没时间|没空|too expensive|can'?t afford|waste of time"),
]
YES: Final = [
    *_signs(
        2.0,
        r"(很|非常|挺|蛮|比较|确实|还是|是|特别)(感)?(有)?兴趣|感兴趣|有兴趣",
        r"(i'?m|i am|we'?re|yes|very|quite|really|definitely|pretty|still) (very |quite |really |definitely |still )?interested|sign me up|count me in|i'?d love|sounds (great|good|interesting|perfect)|i want (to|one|it)|let'?s do (it|that)",
    ),
    *_signs(
        1.5,
        r"加(我|个|一下|下)?(的)?(微信|wx|vx)|(发|寄|传)(我|给我|一?份|点|个|到)?.{0,6}(资料|材料|详情|报价|方案|链接|短信|微信|邮箱)",
        r"(怎么|如何|在哪)(办|报名|买|购买|收费|办理|申请|参加|预约|联系)|多少钱|什么价|价格(是|多少|怎么)|有(什么)?优惠|(想|要|可以|愿意)(了解|看看|试试|体验|报名|预约|办|买|参加|考虑一下)",
        r"(帮|给)我(约|安排|报|预约|登记|留)|(我|那)?(想|要)(报名|预约|办理|购买)|(约|安排)(个|在|一下)?(时间|周|明天|后天|下午|上午)",
        r"send (me|it|us|over)|email me|text me|how much|what(?:'s| is| are) (the )?(price|cost|fee|rate)|how (do|can) i (sign|join|buy|book|apply|order)|tell me more|(like|want|love) to (know|hear|learn|see|try|book|visit|join|buy)|book (me|a|an)|schedule (a|an|me)|go ahead",
    ),
    *_signs(0.5, r"不错|挺好|听起来|了解一下|可以(的|啊|呀)?考虑|i might|maybe i could|worth a look"),
]
LATER: Final = re.compile(
    r"(等|过|晚|改|回头|待会|一会|稍后|下次|下午|明天|晚上|有空|下班).{0,6}(再(说|打|联系|聊)|打(给我|过来|来)|联系|回(你|电))"
    r"|在(开会|开车|忙|上班|上课)|正(忙|开车|开会)|现在(忙|不方便|没空|没时间)|不方便(接|说|讲)?|考虑考虑|再想想|商量"
    r"|call (me )?(back|later|again|another|tomorrow|tonight|after)|(in a|in the middle of a|at a) meeting|(i'?m|am) (driving|busy|at work)|bad time|not a good time|later|think about it|talk to my"
)
WRONG_NUMBER: Final = re.compile(
    r"打错|错号|(我)?不是(他|她|本人|机主|这个人|你(要)?找的)|没有?这个人|不认识(他|她|这个)|换(了)?(号|机主)|我(姓|不姓).{0,4}不是|他(不在|出去)|我是(他|她)的?(老婆|妻子|丈夫|妈|爸|同事|家人|儿子|女儿)"
    r"|wrong (number|person)|no one (here )?(by|with) that|not (him|her|the person)|doesn'?t (live|work) here|(she|he)'?s not (here|in|available)|this is (his|her) (wife|husband|mother|father|son|daughter|colleague)"
)
MACHINE: Final = re.compile(
    r"(语音|留言)(信箱|助手|服务|留言)|请(在)?.{0,6}(滴|嘟).{0,3}(声|后).{0,4}留言|(您|你)(拨打|呼叫)的|(用户|电话|号码).{0,4}(正忙|无法接通|已关机|暂时)|智能(助理|助手|秘书)|来电(助手|秘书|提醒)|机主(正|现在|不|暂)"
    r"|after the (tone|beep)|leave (a|your) message|voice ?mail|(the )?(person|number|subscriber|customer) you (are|have|'ve|'re)|(is )?not available (to take|right now)|virtual assistant|(record|state) your name",
    re.IGNORECASE,
)
BARE_YES: Final = re.compile(
    r"((嗯|对|好|行|可以|是|是的|好的|行的|可以的|好啊|行啊|可以啊|好呀|没问题|当然|有的|有|需要|要|想|愿意|方便|哎|啊|那|吧|呀|的|ok|okay|yes|yeah|yep|sure|of course|please|certainly|alright|all right|fine|great|good|do|i|would|that|works|absolutely|why|not) ?)+"
)
BARE_NO: Final = re.compile(
    r"((不|不是|没有|没|不了|不行|不可以|不好意思|抱歉|谢谢|没兴趣|哦|嗯|啊|no|nope|nah|not|really|thanks|thank you|sorry|i|don't|dont|do|think|so) ?)+"
)
CLOSED_QUESTION: Final = re.compile(
    r"(吗|么|呢|没有|不)[\s?？。]*$|是否|有没有|要不要|需不需要|感不感|would you|are you|do you|can (i|we)|may (i|we)|shall|interested"
)
OFFER: Final = re.compile(
    r"(感|有)兴趣|了解|需要|考虑|加.{0,4}微信|发.{0,8}(资料|短信|微信)|预约|报名|参加|体验|试听|安排|登记|上门|到店|办理|想.{0,6}吗"
    r"|interested|would you like|want (me )?to|send you|sign (you )?up|book|schedule|join|try|arrange|visit"
)
