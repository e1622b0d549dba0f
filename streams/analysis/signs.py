"""The words that the rules look for, strongest reading first; written by hand, adjusted on the tuning conversations.

They are meant as kinds of things that people say, not as sentences: to refuse, to have it already, to have no use for
it, to be annoyed, to mock; to accept, to make an appointment, to ask what only a buyer asks.
"""

from typing import Final

from streams.analysis.words import Sign, Signs, Words

_DO: Final = (
    r"需要|想要|要|考虑|了解|参加|感兴趣|买|卖|办|换|报名|报|学|做|装|弄|搞|整|订|签|投|加|看|玩|炒|租|借|用|贷|存|缺|试|"
    r"接受|喜欢|碰|关心|开通|续|升级|充|合作|加盟|体验|领|收|吃|喝|养|练|上|去|来|更换|购买|贷款|装修|配合|填|改|聊|谈|"
    r"搬|出|送|信|感冒"
)

# Negations and questions that say nothing about interest; not read for signs at all.
NEUTRAL: Final = Words(
    r"不(?:需要|用|必)再?(?:考虑|犹豫|想)了?|什么感?兴趣|不要紧|不用谢|不客气|不打扰|不麻烦|不耽误|不影响|不知道",
    r"不晓得|不一定|不确定|不清楚|不太清楚|不懂",
    "|".join(f"(?<![不没唔]){verb}[不唔没冇]{verb}" for verb in "要买去想办来行好是能会贵远用可得中有对搞"),
    r"需不需要|感不感兴趣",
    r"没(?:有)?(?:听清|听懂|听明白|听到|听见|关系|事|听过|听说|注意|收到|看到|印象|想到|时间|空)|听不[清见懂到]",
    r"不好意思|不错过|不是(?!很|太)|是不是|能不能|可不可以|好不好",
    r"(?:还|都)没(?:有)?(?:考虑好|想好|决定|定|商量)|没(?:有)?(?:买|去|用|了解|参加|接触|做|试|玩|学|来|办|看)过",
    r"拿不定",
    r"(?:不用|不需要|不要|不收|不花|不)(?:另外|额外|再)?(?:交|付|花|出|押|还)?(?:钱|费|押金|手续费|排队|预约)",
    r"没有(?:费用|利息|副作用|危险|风险|押金)",
    r"(?:为什么|为啥|干嘛|怎么)不|不急|不着急|说不定|不得不|不过(?!去|来)|差不多|不管|不论|不光|不但|不少|不只",
    r"不止|不如|(?<![需想不])要不(?:然|就|你|咱|先)|有没有|不在乎",
    r"不.{1,2}白不|(?:谁|哪能|怎么能|怎么会|岂能|哪有)不|不.{1,4}(?:才怪|是傻|就亏|怎么(?:知道|行))|非.{1,4}不可",
    r"不见不散|少不了|(?:先)?(?:别|不要)(?:挂|急|着急|走)|兴趣(?:的是)?.{0,6}你(?:们)?(?:是)?(?:怎么|谁|从)",
    r"不要(?:太|超过|那么|这么)[^，。]{0,6}|不(?:会|需要|用)(?:太|很)|不[去来].{0,4}(?:行|能|可以|也)",
    r"不(?:上[班课学]|加[班价糖]|出差|吃辣)|不介意|何乐而不为",
    r"(?:don'?t|do not|wouldn'?t) (?:want to )?miss|don'?t see why not|not at all|no objections?|wouldn'?t say no",
    r"(?:can|could)n'?t hurt|think twice|no brainer|not a problem|no trouble",
    r"没(?:什么|啥)?(?:问题|毛病|错|意见)|(?:不|没)(?:想|料)到",
    r"don'?t (?:know|mind|worry|hang up|have to ask)|not sure|no problem|why not",
    r"can'?t (?:hear|talk|complain|wait)|no rush|no idea",
    r"not (?:bad|only|too (?:bad|far|expensive))|didn'?t (?:hear|catch|know)|don'?t forget|no worries|can'?t say",
    r"couldn'?t hear",
)
NO: Final = Signs(
    Sign(
        Words(
            r"(?:别|不要|唔好|勿要|甭|莫|少|请勿)(?:再|老|总|老是)?(?:给我|跟我)?(?:们)?(?:打(?!扰|错|折|印|包)|烦|骚扰|来电|联系|推销|介绍|浪费|说了|讲了|废话)",
            r"骚扰电话|投诉|报警|拉黑|黑名单|举报|骗子|诈骗|(?:号码|电话|信息|资料)(?:给我|都)?删|删(?:了|掉|除)",
            r"(?:烦死|烦不烦|烦人|好烦|有病吧|神经病|滚|晦气|缺德|会不会说话|有毛病)",
            r"(?:兴趣|[要买办去好])(?:得)?(?:才怪|个(?:鬼|屁|头|锤子|铲铲|球))|忽悠|传销|被(?:你们)?[坑骗]",
            r"(?:don'?t|do not|stop|quit|never) (?:ever )?(?:call|ring|phone|contact|bother|harass)(?:ing)?",
            r"leave me alone|lose (?:my|this) number",
            r"(?:take|remove) (?:me|us|my \w+) (?:off|from)|taken off|cancel (?:it|my|this)|scam|harass",
            r"report (?:you|this)|unsubscribe",
            r"not interested|no interest|no longer interested|wouldn'?t be interested|do not call list",
        ),
        2.0,
    ),
    Sign(
        Words(
            r"(?:不用|不必|不要|别|甭|莫|唔好|不想|没必要)(?:再)?(?:给|帮|替|跟|叫)[我你][^，。,!！]{0,6}",
            r"(?:不用|不必|不要|别|没必要|不想|不方便)(?:再|你们?)?(?:加|发|寄|传|送|留|约|安排|登记|预约|打)[^，。,!！]{0,5}",
            r"(?:不|没有?|冇|莫得?|唔|毫无|提不起)(?:太|怎么|咋|什么|是很|再|啥|多大|多少|半点)?(?:感)?兴趣",
            rf"[不唔弗勿甭毋伐莫](?:太|再|怎么|是很|打算|准备|计划|会|想|愿意|能|敢|肯|去|来){{0,2}}(?:{_DO})(?!听|惯|过来|一样|紧|起来)",
            "|".join(f"[要想]{verb}早(?:就)?{verb}了?" for verb in "买办换报学做装租"),
            r"(?:天天|老是|总是|整天|每天|成天|一天到晚)(?:都)?.{0,5}(?:打|发|来电|骚扰|推销)[^，。]{0,4}",
            r"(?:谁|哪)(?:会|还)?(?:有|感)兴趣|没(?:什么|啥).{0,3}(?:聊|谈|说)的",
            r"stop (?:sending|emailing|texting|mailing)|like (?:a hole|i need)|let'?s (?:not|leave|pass)",
            r"take (?:a pass|my chances|it from here)|need (?:one|that|this|it|another \w+) like",
            r"没(?:有)?(?:打算|计划)(?!好)",
            r"没(?:有)?(?:太)?(?:准备|想)(?:要|去|过)?(?:买|办|换|报|学|做|装|租|贷|考虑|参加)",
            r"(?:没有?|冇|冇得|木有|无|呒没)(?:这个|这方面|这块|那个|什么|啥|任何)?的?(?:需求|需要|必要|打算|计划|想法|考虑|意向|意愿|意思|预算|用处|用$)",
            r"(?:暂时|目前)(?:都|也|还|是)?(?:不|没)(?!方便|在|空|时间|定|想好|知道|清楚|确定)",
            r"不用(?!担心|着急|客气)|不必|用不[着上到了]|算了|不要(?!是|等|急|担心)|勿要|弗要|覅|唔要|唔使",
            r"免[啦了]|免谈|打住|拉倒|没戏|歇着|得了吧|快得了",
            r"(?<![\u4e00-\u9fff])不了(?![\u4e00-\u9fff])|不了谢|不了不了",
            r"别(?:再|给我)?(?:留|来|费|提|找)(?!人|的)|(?:也|都)是(?:白|浪费)|懒得|不合适|不适合|不划算|不值",
            r"不靠谱|不相信|不信|不同意|不接受",
            r"不中[，,。 不啊]|不得行|不要得|整不起|买不起|付不起|负担不起|消费不起|没(?:那|有)?(?:个)?闲?钱",
            r"莫得钱|冇钱|没得钱|不缺",
            r"(?:已经|早就?|早已|刚刚?|才|上个?月|去年|前[几两]天)(?:.{0,4})(?:买|办|报|装|换|签|订|请|有|租|续|定|贷)(?:好|过|完|的)?了(?!解)",
            r"买过了|办过了|报过了|装好了|有了",
            r"(?:我们?|家里|公司|屋里)(?:都|早|也|自己)?有(?:自己的|一个|阿姨|专门|人(?:做|管|弄|负责|带)|固定|合作|了)",
            r"(?:在|跟|找|用|是|了|和|从)别(?:人)?[家处人]|(?:在|去|找)别的.{1,4}(?:定|办|买|做|装|报|订)",
            r"(?:在|去)?别的(?:地方|店|公司)|才(?:用|买|换|办|装)",
            r"(?:用|做|办|报|订)着呢|(?:在|跟|找|和)(?:其他|人家|另一家|另外一家)|固定的?(?:供应商|合作|渠道|公司)",
            r"自[己个]儿?(?:就)?(?:会|能)(?:$|[，,。做弄修装办教])",
            r"(?:我|我老公|我老婆|我朋友|我亲戚|我儿子|我女儿|我哥|我姐|我弟)(?:自己)?(?:就是|也是|就)(?:做|干|卖|开|搞|教)(?:这|那)",
            r"同行|就是卖",
            r"(?:我|家里?|俺|我们?)(?:都|又|也|根本|压根|压根儿)?(?:没|没有|冇|不开|不养)(?:小?孩子?|娃|车|房|店|公司|狗|猫|宠物|老人|驾照|企业)",
            r"心意领了|好意(?:我)?(?:心)?领|谢谢好意|有需要(?:的话)?(?:我)?(?:会|再|自己|自然)",
            r"需要(?:的话|的时候|了)我?(?:会|再|自己)|用得[着到]再",
            r"(?:要|有)(?:它|这|那|这个|那个|这玩意儿?)(?:有)?(?:干嘛|干啥|干什么|做什么|做啥|何用|啥用|什么用)",
            r"有(?:啥|什么)用|有意思吗|有必要吗|用得着吗",
            r"哪(?:里|儿)?有(?:那么多|这么多|那|闲|这)?(?:闲)?(?:钱|心思|功夫|工夫)",
            r"哪(?:里|儿)?来的(?!.{0,3}(?:电话|号码|信息|联系))|哪(?:里|儿)?(?:用得|需要|买得|用得着)|谁稀罕",
            r"谁要(?:你|这)",
            r"don'?t (?:\w+ )?(?:need|want|read|use|do|own|have|like|care)",
            r"do not (?:\w+ )?(?:need|want|read|use|do|own|have|care)",
            r"(?:we|i) do(?:n'?t| not)[,.]? (?:thanks|sorry)|doesn'?t (?:interest|apply|suit|work for)",
            r"isn'?t (?:for (?:me|us)|something (?:i|we)|necessary|what (?:i|we)|really (?:for|my|our)|needed)",
            r"aren'?t (?:interested|looking)",
            r"stick(?:ing)? with|went with|so,? no\b|i'?m afraid (?:i|we|not|that)",
            r"(?:do|clean|make|cut|grow|fix) (?:my|our) own|(?:company|work|employer|policy) covers",
            r"(?:love|like|want|wanted) to,? but|(?:nice|great|lovely|good|interesting|tempting|kind),? but",
            r"wish i could",
            r"(?:don'?t|do not|no need to|please don'?t) (?:send|email|mail|text|add|sign|book|bother)",
            r"\benough[.!]|enough$",
            r"not (?:looking|for me|for us|something (?:i|we)|in the market|(?:really |quite )?(?:our|my) (?:thing|cup)|at this time|necessary|needed|today,? thank|what (?:i|we) need)",
            r"no,? thanks?|not now,? thank|thanks,? but|thank you,? but",
            r"(?:i'?m|we'?re|we are|i am) (?:good|fine|okay|ok|all set|set|sorted|covered)\b(?! (?:with|to|for|on|at|after|before))",
            r"happy with (?:what|my|our|the|who)|(?:have|got|use|using) (?:someone|somebody|our own|my own)",
            r"someone (?:else )?(?:already )?(?:does|handles)",
            r"already (?:have|bought|got|signed|do|use|using|with|switched|paid|own)",
            r"just (?:bought|renewed|signed|switched|got one)|\bnope\b|\bnah\b|no way|no need|no point|no use",
            r"leave it|we rent|i rent\b",
            r"rather (?:not|you didn'?t)|prefer not|in.house|taken care of|(?:said|told you) no",
            r"paid (?:it |the \w+ )?off|(?:won'?t|isn'?t|not) be possible|pass on|i'?ll (?:have to )?pass",
            r"never ?mind|forget it|changed my mind|decline|no budget|sold (?:the|our|my|it)",
            r"(?:retired|moved (?:away|out)|closed down|shut down|went under)",
            r"(?:can'?t|couldn'?t|cannot) justify|wouldn'?t (?:use|need|want)",
            r"won'?t (?:need|be (?:needing|back|coming|renewing|able))",
            r"(?:absolutely|definitely|certainly|of course) not|out of (?:my|our) (?:budget|price)|get lost",
            r"go away|waste of",
        ),
        1.5,
    ),
    Sign(
        Words(
            r"你(?:们)?(?:自己)?(?:怎么|咋|为什么)不(?:自己)?去?|排(?:着)?队.{0,4}打|今天.{0,3}第.{1,3}[个遍次]",
            r"一天.{0,5}(?:遍|次|个电话)|打扰.{0,3}还打|想得(?:真|倒)?美|又是你们",
            r"(?:给|借)(?:谁|我家猫)|都是你(?:的)?专属|真行啊?$|开什么玩笑|逗我",
            r"你们?自己(?:留着|买|用|住|去|吃|赚|享受)|轮(?:得)?到我|天上掉|羊毛出在|哄谁|骗谁|当我傻",
            r"信你(?:个)?鬼",
            r"没想过|没考虑过|从来不|从不|一向不|我要是有(?:那)?(?:个)?钱|下辈子|做梦|猴年马月|太阳从西边",
            r"中(?:了)?彩票",
            r"你(?:们)?(?:先)?(?:借|给|替|帮)?我?(?:出|付|还|掏|打)(?:点)?(?:钱|首付|房贷|贷款)",
            r"借我(?:点)?(?:钱|[一两几]万)|(?:免费|白)?送我[一两](?:个|套|台|辆|箱|间)|赔钱|见(?:得)?多了",
            r"不(?:需|用)要?吧|(?:等着|又要)亏",
            r"yeah,? right|right after i|when (?:pigs|hell)|unfortunately|then save|in your dreams|money to burn",
            r"made of money|grows? on trees|the lottery|always wanted another|(?:sure|yeah|okay|fine),? if you",
            r"as if\b|nice try|born yesterday|just what i need|if you (?:pay|give me the money)",
            r"what would i (?:need|want|do with)|do i (?:look|sound) like",
            r"oh (?:great|joy|lovely|wonderful),? another|lucky me|who (?:needs|would want)",
            r"how (?:many times|did you people)",
        ),
        1.0,
    ),
    Sign(
        Words(
            r"自[己个]儿?(?:家)?(?:搞|弄|做|有|养|种|装|修|带|教|写)",
            r"(?:家里?|公司|店里|单位|我们?|咱|俺)(?:也|都|早)?(?:装|买|办|养|种|请|订)(?:了|过|着|得)|呵呵",
            r"谁(?:买|信|还)|就不[^，。,]{1,5}了",
            r"(?<![\u4e00-\u9fff])不[^，。,不好对行早小在记知错多远说聊讲等跟耽]{1,3}了(?![\u4e00-\u9fff])|不放心",
            r"(?:孩子|儿子|女儿|娃|小孩)(?:都|已经|早就?)?(?:大了|上大学|毕业|工作|结婚|上班)了?",
            r"(?:卖|关|倒闭|转让|注销|拆|退|搬走|退休|毕业)(?:掉)?了",
            r"(?:现在|最近|近期|今年)(?:都|也|还|是)?(?:不|没)(?!方便|在|空|时间|定)",
            r"超出.{0,3}预算|预算(?:不够|有限)|(?:上|吃)过(?:一次)?(?:当|亏)|怕被骗|骗(?:人|老|钱|我|了)",
            r"坑(?:过|人|我|了)|都.{1,8}了(?:还)?.{0,3}(?:什么|啥)|都[七八]十(?:多)?(?:岁)?了",
            r"too good to be true|covers? (?:that|it|this|me)\b|(?:retired|moved (?:away|out))|happy with|not today",
        ),
        0.7,
    ),
    Sign(
        Words(
            r"太贵|贵了|没钱|没时间|没空|抱歉|再说吧|挂了|忙(?:不过来|得很|死)|没劲|没意思",
            r"too (?:expensive|much|far|busy)|can'?t afford|not (?:now|right now)|so expensive|sorry",
        ),
        0.5,
    ),
)
YES: Final = Signs(
    Sign(
        Words(
            r"感兴趣|[有很蛮挺]兴趣|就(?:定|要|买|选|办|订)(?:这|它|你|那)|必须的|求之不得|巴不得|得嘞",
            r"就这么(?:定|办|说定)|说定了|一言为定|成交",
            r"那?就?(?:给|帮|替|俾)我(?:们|家|也|先)?.{0,3}(?:来(?!电)|留|报|约|订|定|办|安排|登记|预约|送|拿|派|看看|寄|发|续|保留)",
            r"那(?:就)?(?:给我|先|你)?(?:来|要|拿|订|定|报|办|换|送|约|安排)(?:[一二两三四五六七八九十个吧]|这)",
            r"来[一二两三四五六几][个箱份次盒件套台单]",
            r"加(?:我|个|一下|下|你)?的?(?:微信|wx|vx)|你加我",
            r"[发寄传](?:我|给我|一?份|点|个|到|过来|来).{0,6}(?:资料|材料|详情|报价|方案|链接|短信|微信|邮箱|合同|地址|定位|看看)",
            r"\b(?:i'?m|i am|we'?re|we are|yes|very|quite|really|definitely|pretty|still|actually|certainly),? (?:\w+ )?interested",
            r"i would be interested|i'?d be interested",
            r"sign (?:me|us|him|her) up|count (?:me|us) in",
            r"i'?d (?:\w+ )?love (?:to|one|that|it)\b(?! (?:stop|be left|see you try))",
            r"sounds (?:\w+ )?(?:great|good|interesting|perfect|lovely|fantastic|wonderful)",
            r"(?:that|it|this|day|time|noon|one|two|three|four|five|six|nine|ten|eleven|am|pm)(?:'s| is| would be| will be|'d be) (?:just |really )?(?:perfect|ideal)",
            r"you bet",
            r"i(?: do)? want (?:to (?:buy|book|try|join|see|come|order|sign|go|get (?:one|it|the|a)|take|start|do (?:it|this))|one|it(?! to)|that(?! to)|in\b)",
            r"let'?s (?:do|book|go|set|try|give)|i'?ll (?:take|have (?!to)|be there|come (?!back))",
            r"we'?ll (?:take|have (?!to)|be there|come (?!back))|(?:yes|please),? (?:add|do|book)",
            r"put (?:me|us) (?:down|in)|we'?re in(?:[.!,]|$)|i'?m in(?:[.!,]|$)",
        ),
        2.0,
    ),
    Sign(
        Words(
            r"(?:怎么|如何|咋|咋个|点样|啷个|在哪|去哪|到哪)(?:儿|里)?(?:办|报名|报|买|卖|购买|收费|申请|参加|预约|联系你|弄|整|补|操作|算|上|交钱|付款|下单|合作|加盟|领)",
            r"多少钱|几多钱|好多钱|几钱|什么价|啥价|价格(?:是|多少|怎么|呢)|怎么卖",
            r"[费价](?:用|格)?(?:是|要|得|大概)?多少|多少费",
            r"一(?:年|个?月|周|节|次|平|台|件|箱|份|套|人|斤|亩|桌).{0,3}(?:几|多少)|有(?:什么|啥)?(?:优惠|折扣)",
            r"收费|起送|首付|额度|报个?价|估个?价",
            r"(?:能|可以|能不能|可不可以|可不可)(?:再|给我|给)?(?:便宜|优惠|打折|少点)|打几折",
            r"还(?:有|剩)(?:几个|名额|位置)",
            r"(?:想|要|可以|愿意|打算|准备|计划)(?:去|来|先)?(?:了解|看看|看一?[下眼]|试试|试一?下|体验|报名|预约|办(?!法)|买(?!早|也|你)|购买|参加|考虑一下|学|申请)(?!一下你|你)",
            r"(?:想|打算|准备|计划)(?:去|来|先)?(?:租|装(?!货)|换|加盟|合作|做(?!饭|手术|作业|完)|开(?!会|车|门))",
            r"考虑的(?![人东时])|需要需要|需要的(?:$|[，,。啊呀呢])",
            r"(?:我|也|是|确实|真|都|倒是|们)(?:是)?有(?:这个|这方面的?|这块)?(?:需求|需要|打算|想法|意向)",
            r"有(?:这个|这方面的?)?(?:打算|需求|意向)",
            r"(?:正|刚)好(?:在[找看考想]|想|要(?!出|去|开|走|睡)|需要|缺|有)",
            r"正(?:想|要找|在找|缺|需要|愁|发愁|打算|准备)(?!出门|睡|走|挂)|一直(?:想|在找|打算|在等你)|头疼",
            r"[帮给替](?:我|俺|咱)(?:约|安排|报|预约|登记|留|发|算|寄|送|订|定)",
            r"带(?:我|上|着).{0,6}(?:去|来|过去|过来)|一起(?:去|来|过去|过来)|(?:俾|畀)我",
            r"(?:过去|过来|过嚟|抽空去|来)(?:看|饮|试|听|一趟|逛|转|瞧|瞅|尝|体验)",
            r"去(?:看看|看一|瞧瞧|瞅瞅|体验|试试|逛逛|转转|你们)|上门(?:量|看|收|取|来)|见面(?:聊|谈|说)",
            r"可以(?:聊|谈|见)(?!一下你)|寄.{0,4}(?:过来|来|给我)|面谈|送货上门",
            r"(?:约|安排)(?:个|在|一下|到)?(?:时间|周|礼拜|星期|明天|后天|下午|上午|今天|晚上)",
            r"什么时候(?:能|可以|来|开|上|有)|(?:几时|几号)(?:能|可以|来|开|上|有|啊?$)",
            r"那(?:我)?(?:就)?(?:要|可以|来|买|办|定|试试)(?:$|[，,。的啊吧了]{1,2})|能给.{0,6}(?:买|办|报|用)吗",
            r"现在(?:报名|买|办|订)(?:能|可以|还)|(?:需要|要)(?:准备|带|交|提供)(?:什么|啥|哪些)",
            r"我(?:的)?(?:微信|邮箱|地址)(?:号)?(?:就?是|就)|手机号就是|地址(?:发|给)(?:我|给)",
            r"(?:寄|发)(?:到|去)(?:我)?(?:家|公司|单位|邮箱|微信|店)|留(?:一|个|两|三|四|几)(?:个|位|套|份|条|台)?",
            r"send (?:me|it|us|over)|email (?:me|it|us)|text (?:me|it|us)|mail (?:me|it)",
            r"how much(?! longer| more of| time)|tell me more|go ahead|(?:yes|sure|ok|okay),? please",
            r"please (?:send|book|do|add|reserve|sign)",
            r"what(?:'s| is| are|'re) (?:the|your) (?:price|cost|fee|rate|monthly|interest|discount|deposit)",
            r"what (?:do|would|does) (?:you|it|that) (?:charge|cost|run)",
            r"(?:i'd|i would|i'll|let me) (?:\w+ )?(?:sign|buy|order|join|go for)|what do i need",
            r"how (?:do|can|soon can) (?:i|we|he|she|you) (?:sign|join|buy|book|apply|order|start|come|pay)",
            r"is (?:it|there) (?:still )?(?:available|any (?:left|space|room))",
            r"(?:like|want|love|happy|glad|keen) to (?:\w+ )?(?:know (?:more|about|the|how)|hear|learn|see|try|book|visit|join|buy|order|have (?:a|one)|come|meet|schedule|switch)",
            r"i'?d like (?:a|one|some|the)\b",
            r"\b(?:we|i) (?:really |actually |do )?(?:need (?:one|some(?! time)|that|it|this|a (?!minute|moment|second|sec|bit|break))|could use (?:one|a|some|it))",
            r"been (?:meaning|wanting|hoping|looking)",
            r"(?:we'?re|i'?m|we are|i am|actually) (?:\w+ )?looking (?:for|to)",
            r"when (?:could|can) (?:you|we|i|some\w+)|(?:good|perfect|great|right|excellent) timing",
            r"funny you (?:should )?(?:call|ask|mention)",
            r"(?:can|could) (?:you (?:come|send|book|put me|sign|email|text|hold (?:one|it)|save|drop)|(?:i|we) (?:come|see (?:it|the|one|them)|get (?:a|one|it|some)|book|order|try|have (?:a|one)|pay))",
            r"we are,? actually|(?:works|fine|good) for (?:me|us)|that works",
            r"(?:mon|tues|wednes|thurs|fri|satur|sun)day(?:'?s| is)? (?:works|good|fine|great|perfect)",
            r"book (?:me|us|an?|it)\b|schedule (?:an?|me|us|it)\b|reserve (?:me|us|one|it|a)|hold one",
            r"save (?:me|us)|mak(?:e|ing) (?:it|that) (?:two|three|four|a|one)",
            r"(?:would|'d) be (?:great|good|lovely|wonderful|nice|perfect|helpful)(?! if you (?:stop|don|never|could stop))",
            r"see you (?:then|on|there|tomorrow)|by all means|of course,? (?:please|yes)|please do\b(?! not)",
            r"do you have anything",
        ),
        1.5,
    ),
    Sign(
        Words(
            r"利息(?:多少|怎么|是|高)|利率(?:多少|是|怎么)|月供|分期|多少(?:钱)?$|几块|还(?:有|剩)(?:多少|吗|没)",
            r"有(?:没有)?(?:现货|试用|样品|名额|位置|空位|房源|车位)|什么时候(?:到|去|送|装|办)",
            r"(?:几点|周几|哪天)(?:能|可以|来|开|上|有|到|去|啊?$)",
            r"(?:能|可以)(?:给|帮)?(?:我们?|我家|他|她)?.?(?:学|报|用|买|办|装|送|退|换|做|领|试|参加|分期|上|预约|刷卡|开发票)[^，。不别]{0,3}[吗么嘛]",
            r"(?:什么|啥|哪些)(?:材料|手续|条件|资料)|上门(?:修|装|服务)|(?:试用|试吃|试听|试驾)一?[下个次]",
            r"怎么(?:走|过去|去|过来)|(?:你们)?地址(?:在哪|是|多少|呢)",
            r"(?:店|中心|校区|展厅|门店|工地|样板间)(?:在|是在)(?:哪|什么)|离.{1,8}[近远]|巧了|太好了",
            r"(?:那|敢情)(?:挺|太|更|敢情)?好(?!像|了再)|正合适",
            r"what (?:time|day|days|dates|sizes|colou?rs)|what(?:'s| is| are) (?:the|your) (?:address|hours)",
            r"do you (?:take|accept|deliver|offer|have any|do (?:weekends|evenings))",
            r"how (?:long (?:does|will|is) (?:it|the)|far)|where (?:do i|can i|is (?:it|the|your))",
            r"when (?:do|does|is|would|are) (?:you|we|it|the)|are you (?:free|open)",
        ),
        0.7,
    ),
    Sign(
        Words(
            r"不错|挺好|听起来|了解一下|可以[的啊呀]?考虑|那[行好成](?:吧)?$|还行|还可以|不贵|划算|合适",
            r"有点(?:意思|兴趣|想)|详细(?:说|讲|介绍)|你说说|说说看|讲讲|那你说|怎么回事",
            r"i might|maybe i could|worth a look|not bad|i see,? ok|go on|i'?m listening|tempting|interesting",
        ),
        0.5,
    ),
)
LATER: Final = Words(
    r"(?:等|过|晚|改|回头|待会|一会|稍后|下次|下午|明天|有空|下班).{0,6}(?:再[说打聊来讲摆]|再联系|先讲|打给我|打过来|打来|联系|回[你电]|打我)",
    r"在(?:开会|开车|忙|上班|上课|外面|骑车)|正(?:忙|开车|开会|在)|现在(?:忙|不方便|没空|没时间)|不方便[接说讲]?",
    r"[改等](?:天|会儿?|下)",
    r"考虑考虑|再想想|再看看|商量|先问问|到时候再说",
    r"call (?:me )?(?:back|later|again|another|tomorrow|tonight|after)|\blater\b|bad time|not a good time",
    r"(?:in a|in the middle of a|at a) meeting|(?:i'?m|am) (?:driving|busy|at work|with a)|think about it|talk to my",
    r"try me|ring me",
)
# What takes back half of a yes: the contact has not made up their mind, or somebody else decides.
HEDGE: Final = Words(
    r"不一定|看情况|看看情况|说不好|说不准|不好说|再看|再说|再想想|想想看|想一想|考虑考虑|考虑一下|考虑下|商量",
    r"问问(?:我|家|老|他|她|孩子)|问一下(?:我|家|老)|不确定|拿不定|没想好|没决定|到时候",
    r"回头(?:再|给|跟|告诉|回)|还得看|得看(?:我|他|她|家|时间)|随便(?:问|看|了解)|只是(?:问|看|了解)|就是问问|好奇",
    r"可有可无|无所谓|(?:要是|如果|假如|除非|等我|你(?:出|给|送|掏)).{1,12}(?:就|再|才)",
    r"depends|not sure|think (?:about|it over|on it)|talk (?:it over|to my)|ask my|check with",
    r"(?:we'?ll|let'?s|let me) see|get back to you|just (?:asking|curious|wondering)|maybe|perhaps|not decided",
    r"haven'?t decided|no promises|unless",
)
WRONG_NUMBER: Final = Words(
    r"打错|错号|找错|不是(?:他|她|本人|机主|这个人|你要?找的|我本人)|没有?这个?人|查无此人|不认识(?:他|她|这个)",
    r"换了?(?:号|机主)|你找谁|找哪位|我不(?:姓|叫)|我姓[^，。名]{1,2}$",
    r"[他她](?:不在|出去|出门|睡了|去世)",
    r"我是[他她]的?(?:老婆|妻子|丈夫|妈|爸|同事|家人|儿子|女儿|朋友|爱人|室友|秘书|助理)|[他她]是我|代接",
    r"帮[他她]接",
    r"(?:妈妈|爸爸|大人|老板|主人|负责人|经理|领导)(?:现在|今天)?(?:不在|没在|出差|出去)",
    r"(?:离职|辞职|不在这儿?(?:上班|干|做)|调走)了?|核对一下(?:号码|电话)|号(?:码)?(?:是我)?(?:刚|新)(?:办|换|买)",
    r"wrong (?:number|person|guy|house|company|place)|no one (?:here )?(?:by|with|called|named) ",
    r"nobody (?:here )?(?:by|called|named)|not (?:him|her|the person)\b|there'?s no (?:mr|mrs|ms)",
    r"(?:he|she|they) (?:moved|left|quit|passed)|doesn'?t (?:live|work) here|no longer (?:works?|lives?)",
    r"s?he'?s (?:not (?:here|in|available)|out|away|at work|passed)|left the company|passed away",
    r"this is a (?:pizza|restaurant|private|hospital|school)",
    r"this is (?:his|her) (?:wife|husband|mother|father|son|daughter|colleague|assistant|roommate|sister|brother)",
    r"my (?:dad|mom|mum|wife|husband)'?s (?:not|out|at work)",
)
MACHINE: Final = Words(
    r"语音(?:信箱|助手|服务|留言)|留言(?:信箱|服务)|请在?.{0,6}[滴嘟音].{0,3}[声后].{0,4}留言|请留言",
    r"[您你](?:拨打|呼叫)的|呼叫转移|秘书台|已为您",
    r"(?:用户|电话|号码).{0,4}(?:正忙|无法接[通听]|已关机|已停机|是空号)",
    r"(?:通话|电话|语音|智能|来电).{0,4}(?:助理|助手|秘书)|(?:ai|AI).{0,4}(?:助理|助手|秘书)|小爱同学|小度",
    r"机主[正现不暂在]|帮主人|转告|欢迎致电|请按[一二三四五六七八九零\d]|转人工|按井号",
    r"after the (?:tone|beep)|at the (?:tone|beep)|leave (?:a|your|me a) (?:message|name)|voice ?mail",
    r"virtual assistant|(?:record|state|say) your (?:name|message)|mailbox|answering machine",
    r"(?:person|number|subscriber|customer|party) you(?: are| have|'ve|'re| dial)",
    r"not available (?:to take|right now)|press (?:one|two|zero|pound|\d)|call screening",
    r"can'?t (?:come to|get to|take) (?:the|your) (?:phone|call)|has been forwarded|out of service",
    r"please try again later",
)
BARE_YES: Final = Words(
    r"嗯|对|好|行|可以|是|没问题|没毛病|当然|有|需要|要|想|愿意|方便|哎|啊|那|吧|呀|呢|的|谢谢|麻烦你了?|麻烦您了?",
    r"嘞|哈|咯|嘛|哦|喔|诶|欸|呐|滴|成|中|妥|妥了|得行|要得|得|肯定|必须|巴适|安逸|都|也|我|先|听你的|听您的|辛苦",
    r"多谢|唔该|系",
    r"\b(?:okay|ok|yes|yeah|yep|yup|sure|of course|please|certainly|alright|all right|fine|great|good|absolutely|oh|thanks|thank you|perfect|lovely|cool|well|then|that'?s|it is|go for it)\b",
    r"\b(?:i do|i would|we do|we would|that works|why not|i guess so|sounds)\b",
)
BARE_NO: Final = Words(
    r"不好意思|抱歉|谢谢|不是|不了|不行|不可以|没有|没|不|哦|嗯|啊|的|都|再见|拜拜|冇|木有|没得|唔|了|呢|呀|吧|真",
    r"\b(?:nope|nah|no|not|really|thanks|thank you|sorry|i don'?t|i wouldn'?t|we don'?t|i think|so|bye|goodbye|i'?m afraid|i haven'?t|we haven'?t|it isn'?t|um|uh|oh)\b",
)
NEGATION: Final = Words(r"不(?!好意思)|没(?!问题|关系|事|毛病)|冇|木有|唔", r"\bno|\bnah\b|n'?t\b")
# An end that only sounds like a yes.
IMPATIENT: Final = Words(r"行了|好了|够了|得了|好好好|行行行行|是是是|对对对对|知道了|晓得了")
# A yes that begins like this ends something else than doubt.
PARTING: Final = Words(
    r"再见|拜拜|挂了|先这样|在忙|知道了|晓得了|先忙|等一?[下会]|稍等|回头|改天|再说|考虑|商量|谁|哪位|哪里|什么",
    r"bye|who|what|later|busy|but|hold on|wait|one (?:moment|second)|call",
)
# What follows a yes and takes half of it back.
CONTRAST: Final = Words(r"但|不过|可是|可惜|就是太|就怕", r"\bbut\b|although|though|unfortunately")
# What may turn what was said before, in words that nothing else knows.
TURNS_AWAY: Final = Words(
    r"不|没|冇|唔|别|贵|算|骗|开玩笑|什么(?:意思|玩意)", r"\bno|\bnot\b|expensive|forget|\bwait|actually|hmm|really\?"
)
TURNS_BACK: Final = Words(
    r"好|行|可以|要|想|那|试|来|免费|中|得",
    r"\bok|\byes|\byeah|\bsure|\bthen|\bhm|maybe|free|\bwell|\bwait|actually|fine|alright",
)
CLOSED_QUESTION: Final = Words(
    r"[吗么呢不没][\s?？。]*$|是否|有没有|要不要|需不需要|感不感|考虑",
    r"would you|are you|do you|can (?:i|we)|may (?:i|we)|shall|interested|have you",
)
OFFER: Final = Words(
    r"[感有]兴趣|了解|需要|要不要|考虑|加.{0,4}微信|发.{0,8}(?:资料|短信|微信|链接|报价|方案|地址)|预约|报名|参加",
    r"体验|试[听用驾吃]|安排|登记|上门|到店|办理|下单|打算|名额|保留|约|留位|留一|寄|开通|升级|续费|续保|报价|送您",
    r"给您(?:留|算|出|做|订|定|办|报|送)|帮您(?:留|算|出|做|订|定|办|报|约|申请|查)|见面|来店|到店|来公司|过来",
    r"到时候见|(?:让|叫|请).{1,8}联系|拜访|[点午]见|来看看|来参观|过来(?:看|坐|试)|合同|付款|订一|来[一两]",
    r"interested|would you like|want (?:me )?to|send you|sign (?:you )?up|book|schedule|join|try|arrange|visit",
    r"reserve|put you (?:down|in)|set (?:you|it|that) up|drop by|come (?:by|in|over|out)|quote|demo",
    r"(?:email|mail|text|give|show) you|stop by|appointment|hold (?:one|a|it)|renew|upgrade|switch|order|deliver",
    r"would .{0,20}(?:work|suit) (?:for )?you|shall (?:we|i)|need (?:a|any|some)",
)
# What looks like an offer and is none: who is there, whether it is heard, whether one may speak, goodbyes.
NO_OFFER: Final = Words(
    r"再见|不打扰|打扰(?:您)?了|祝您|有需要.{0,8}联系|(?:回头|稍后|晚点|改天|下次|过几天)再",
    r"再(?:给您)?(?:打|来电|致电|联系)|听(?:得)?[到见清]|在听|在吗|(?:说话|接听|接电话|通话|听一下|聊两句|占用)",
    r"方便(?:接|听|说)|现在方便",
    r"can you hear|are you there|good time|a (?:moment|minute|second)|may i (?:speak|ask)|speaking (?:with|to)",
    r"is this|goodbye|call (?:you )?(?:back|again|later)|have a (?:nice|good|great)",
)
WHEN_ASKED: Final = Words(
    r"什么时候|几点|周几|哪天|哪一天|上午还是|还是下午|还是周|还是明|星期几|什么时间",
    r"(?:周[一二三四五六日末]|明天|后天|上午|下午|今天).{0,12}(?:可以吗|方便吗|行吗|好吗|怎么样|有空吗|合适吗|可以么)",
    r"what (?:time|day)|which day|when (?:would|can|could|are|is|works)|morning or|or afternoon",
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day.{0,30}\?",
)
A_TIME: Final = Words(
    r"(?:周|礼拜|星期)[一二三四五六日天末]|明天|后天|今天|今晚|上午|下午|晚上|中午|[一二两三四五六七八九十\d]点",
    r"都行|都可以|随时|前者|后者",
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|tomorrow|today|tonight|morning|afternoon|evening|weekend",
    r"\b(?:at|around|after) (?:\d|one|two|three|four|five|six|seven|eight|nine|ten|noon)|either|any ?time",
    r"the (?:first|second|latter|former)",
)
CALLING: Final = Words(r"打|联系|回电|来电|致电|电话", r"call|ring|phone|reach")
IDENTITY: Final = Words(
    r"(?:请问|您|你)?是(?:不是)?[^，。,]{0,8}(?:先生|女士|小姐|总|老板|老师|经理|本人|机主|家长|爸爸|妈妈|业主|车主|户主|用户|住户|负责人)",
    r"贵姓|怎么称呼|哪位",
    r"is (?:this|that) |am i speaking|speak(?:ing)? (?:with|to)|are you (?:mr|mrs|ms|dr|the owner|the one who)",
)
