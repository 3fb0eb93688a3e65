"""Short original sentences in many languages and scripts, and pages made of them in a drawn order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

__all__ = ["language_pages"]

SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "chinese": (
        "清晨的市场里摆满了新鲜的蔬菜和水果。",
        "我先把水烧开，然后再放茶叶。",
        "如果服务器没有回应，请检查网络设置并重新启动程序。",
        "他用Python写了一个小工具，每天可以节省两个小时。",
        "昨天下午突然下起大雨，我们只好躲进一家书店。",
        "这本书一共有十二章，最后一章讲的是数据库的备份。",
        "孩子们在院子里追着一只黄色的蝴蝶。",
        "问题不在于速度，而在于我们有没有说清楚目标。",
    ),
    "traditional chinese": (
        "車站旁邊開了一間賣麵的小店，老闆很親切。",
        "請先閱讀說明書，再按下紅色的按鈕。",
        "這個週末我們打算騎腳踏車去海邊看日出。",
        "圖書館的閱覽室很安靜，只聽得見翻頁的聲音。",
        "資料庫的備份應該放在另外一個地點。",
        "奶奶種的橘子樹今年結了很多果實。",
    ),
    "japanese": (
        "朝の電車はいつも混んでいるので、少し早く家を出ます。",
        "このボタンを押すと、データがサーバーに送られます。",
        "祖母の庭には、季節ごとに違う花が咲きます。",
        "エラーが出た場合は、ログを確認してからもう一度試してください。",
        "雨がやんだら、川まで散歩に行きましょう。",
        "コーヒーを飲みながら、古い写真を眺めていました。",
        "会議は三時に始まりますが、資料はまだ届いていません。",
    ),
    "korean": (
        "아침마다 강가를 따라 천천히 달립니다.",
        "이 프로그램은 파일을 읽고 결과를 화면에 보여 줍니다.",
        "비가 그치면 시장에 가서 사과를 사 오세요.",
        "서버가 응답하지 않으면 잠시 기다렸다가 다시 시도하십시오.",
        "할머니는 오래된 편지를 상자에 모아 두셨습니다.",
        "회의가 길어져서 저녁 약속에 조금 늦었어요.",
    ),
    "arabic": (
        "فتحت النافذة في الصباح فرأيت البحر هادئا.",
        "إذا لم يستجب الخادم فانتظر قليلا ثم حاول مرة أخرى.",
        "يبيع جارنا الخبز الطازج في السوق القديم.",
        "كتبت الطالبة رسالة طويلة إلى صديقتها في المدينة.",
        "يحتاج هذا البرنامج إلى ذاكرة أكبر مما توقعنا.",
        "جلس الأطفال تحت الشجرة يستمعون إلى حكاية جدهم.",
    ),
    "hebrew": (
        "בבוקר פתחתי את החלון וראיתי שהרחוב ריק.",
        "אם השרת אינו עונה, יש להמתין דקה ולנסות שוב.",
        "סבתא שלי אופה לחם עם זרעי שומשום בכל יום שישי.",
        "התלמידים קראו ספר ישן על מסע אל הים.",
        "התוכנה שומרת כל שינוי בקובץ נפרד.",
        "אחרי הגשם יצאנו לטייל בין עצי הזית.",
    ),
    "hindi": (
        "सुबह की चाय के साथ वह पुराना अखबार पढ़ता है।",
        "यदि सर्वर उत्तर न दे तो थोड़ी देर बाद फिर प्रयास करें।",
        "बच्चे नदी के किनारे रेत के घर बना रहे थे।",
        "इस पुस्तक में बारह अध्याय और कई चित्र हैं।",
        "मेरी दादी आम का अचार बहुत स्वादिष्ट बनाती हैं।",
        "हमें कल तक सारी फाइलें दूसरी जगह रखनी हैं।",
    ),
    "thai": (
        "ตอนเช้าแม่ค้าขายผลไม้อยู่ริมถนนใกล้โรงเรียน",
        "ถ้าเซิร์ฟเวอร์ไม่ตอบสนอง ให้รอสักครู่แล้วลองใหม่อีกครั้ง",
        "เด็กๆ วิ่งเล่นในสวนหลังฝนตก",
        "หนังสือเล่มนี้เล่าเรื่องการเดินทางไปทะเล",
        "เราควรสำรองข้อมูลไว้อีกที่หนึ่งเสมอ",
        "คุณตาชอบฟังวิทยุขณะรดน้ำต้นไม้",
    ),
    "russian": (
        "Утром мы вышли из дома и увидели, что выпал первый снег.",
        "Если сервер не отвечает, подождите минуту и попробуйте ещё раз.",
        "Бабушка хранит старые письма в деревянной шкатулке.",
        "Программа читает файл построчно и не держит его целиком в памяти.",
        "На рынке продавали яблоки, мёд и свежий хлеб.",
        "Совещание перенесли на четверг, потому что отчёт ещё не готов.",
        "СРОЧНО: СРОК СДАЧИ РАБОТЫ ПЕРЕНЕСЁН НА СРЕДУ.",
    ),
    "ukrainian": (
        "Уранці над річкою стояв густий туман.",
        "Якщо сервер не відповідає, зачекайте хвилину й спробуйте знову.",
        "Дідусь посадив біля хати дві яблуні та вишню.",
        "Програма зберігає кожну зміну в окремому файлі.",
        "Діти їли вареники й слухали довгу казку.",
    ),
    "greek": (
        "Το πρωί ανοίξαμε το παράθυρο και είδαμε τη θάλασσα.",
        "Αν ο διακομιστής δεν απαντά, περιμένετε λίγο και δοκιμάστε ξανά.",
        "Η γιαγιά φυλάει παλιά γράμματα σε ένα ξύλινο κουτί.",
        "Το πρόγραμμα διαβάζει το αρχείο γραμμή προς γραμμή.",
        "Στην αγορά πουλούσαν ελιές, ψωμί και φρέσκο τυρί.",
    ),
    "turkish": (
        "Sabahları köprünün üstünden geçip işe yürüyerek giderim.",
        "Sunucu yanıt vermezse biraz bekleyip yeniden deneyin.",
        "Büyükannem her güz ayva reçeli yapar, komşulara dağıtır.",
        "Çocuklar yağmurdan sonra çamurlu bahçede oynadılar.",
        "Bu program dosyayı satır satır okur ve özetini çıkarır.",
    ),
    "vietnamese": (
        "Buổi sáng mẹ tôi ra chợ mua rau và cá tươi.",
        "Nếu máy chủ không trả lời, hãy đợi một lát rồi thử lại.",
        "Ông ngoại kể cho chúng tôi nghe chuyện về dòng sông cũ.",
        "Chương trình này đọc từng dòng và ghi kết quả vào tệp mới.",
        "Trời vừa tạnh mưa, lũ trẻ chạy ùa ra sân.",
    ),
    "german": (
        "Am Morgen lag Nebel über den Feldern, und die Straße war leer.",
        "Die Donaudampfschifffahrtsgesellschaft suchte einen pflichtbewussten Angestellten.",
        "Wenn der Server nicht antwortet, warten Sie kurz und versuchen es erneut.",
        "Großmutter bewahrt alte Briefe in einer Schachtel auf.",
        "Rechtsschutzversicherungen decken Streitigkeiten selbstverständlich nur teilweise ab.",
    ),
    "french": (
        "L’été dernier, nous avons dîné près de la forêt où chantaient les grillons.",
        "Si le serveur ne répond pas, patientez un peu puis réessayez.",
        "« Où as-tu trouvé ça ? » demanda l’élève, étonné.",
        "La boulangère a déjà vendu tous ses gâteaux à la crème.",
        "Le programme lit le fichier ligne à ligne et n’en garde rien.",
    ),
    "polish": (
        "Wczesnym rankiem chrząszcz brzmiał w trzcinie, a my piliśmy kawę.",
        "Jeśli serwer nie odpowiada, proszę chwilę poczekać i spróbować ponownie.",
        "Babcia przechowuje stare listy w drewnianej skrzynce.",
        "Przedsiębiorstwo wdrożyło rozwiązanie szybciej, niż przypuszczano.",
    ),
    "czech": (
        "Vlk zmrzl, zhltl hrst zrn a šel spát do lesa.",
        "Pokud server neodpovídá, chvíli počkejte a zkuste to znovu.",
        "Čtvrtý hráč ztratil při prvním kole tři žetony.",
        "Babička peče o svátcích štrúdl s jablky a ořechy.",
    ),
    "finnish": (
        "Aamulla järven yllä leijui sumua ja kaikki oli hiljaa.",
        "Jos palvelin ei vastaa, odota hetki ja yritä uudelleen.",
        "Isoäiti säilyttää vanhoja kirjeitä puisessa laatikossa.",
        "Hääyöaie oli sana, jota lapset toistivat nauraen.",
    ),
    "welsh": (
        "Mae'r bws yn cyrraedd y dref am wyth o'r gloch bob bore.",
        "Os nad yw'r gweinydd yn ateb, arhoswch funud a cheisiwch eto.",
        "Roedd fy nhad-cu yn tyfu tatws ym mhen draw'r ardd.",
        "Ysgrifennodd y ferch lythyr hir at ei ffrind yng Nghaerdydd.",
    ),
    "swahili": (
        "Asubuhi tulikwenda sokoni kununua matunda na mboga.",
        "Seva isipojibu, subiri kidogo kisha ujaribu tena.",
        "Bibi anahifadhi barua za zamani ndani ya sanduku.",
        "Watoto walicheza mpira uwanjani baada ya mvua.",
    ),
    "tamil": (
        "காலையில் நாங்கள் கடற்கரையில் நடந்து சென்றோம்.",
        "சேவையகம் பதிலளிக்கவில்லை என்றால் சிறிது நேரம் கழித்து முயற்சிக்கவும்.",
        "பாட்டி பழைய கடிதங்களை ஒரு பெட்டியில் வைத்திருக்கிறார்.",
        "குழந்தைகள் மழைக்குப் பிறகு தோட்டத்தில் விளையாடினார்கள்.",
    ),
    "georgian": (
        "დილით ფანჯარა გავაღე და მთები დავინახე.",
        "თუ სერვერი არ პასუხობს, ცოტა ხანს დაიცადეთ და ისევ სცადეთ.",
        "ბებია ძველ წერილებს ხის ყუთში ინახავს.",
    ),
    "amharic": (
        "ጠዋት ላይ ወደ ገበያ ሄደን ፍራፍሬ ገዛን።",
        "አገልጋዩ ካልመለሰ ትንሽ ቆይተው እንደገና ይሞክሩ።",
        "አያቴ የቆዩ ደብዳቤዎችን በሳጥን ውስጥ ታስቀምጣለች።",
    ),
    "emoji": (
        "Good morning ☀️🌻 coffee first ☕😴 then the world 🌍💪!",
        "We did it 🎉🎉🎊🥳 thank you all ❤️🧡💛💚💙💜",
        "Packing list: 🩳👕🧢🕶️🧴📚🎧🔌 and the 🎫🎫!",
        "🐶 says woof, 🐱 says meow, 🦊 says nothing at all 🤷‍♀️",
        "Team: 👩🏽‍💻👨🏻‍🔬👩🏿‍🚀🧑🏼‍🎨 and one 🤖.",
    ),
}
PAGE_CHARS_MIN: Final = 3_000


def language_pages() -> Iterator[tuple[str, str]]:
    """Two pages a language, and one in which all languages follow each other, as a phrase book does."""
    for language, sentences in SENTENCES.items():
        for number in (1, 2):
            yield f"{language} {number}", page(sentences, random.Random(f"{language}:{number}"))
    yield "phrase book", phrase_book()
    yield "word cards", word_cards(random.Random("cards"))


def page(sentences: tuple[str, ...], draw: random.Random) -> str:
    parts: list[str] = []
    while sum(map(len, parts)) < PAGE_CHARS_MIN:
        parts.append(" ".join(draw.sample(sentences, len(sentences))))
    return "\n\n".join(parts)


def phrase_book() -> str:
    rows = [
        f"- **{language.capitalize()}**: {sentences[number % len(sentences)]}"
        for number in range(8)
        for language, sentences in SENTENCES.items()
    ]
    return "\n".join(rows)


def word_cards(draw: random.Random) -> str:
    words = [word for sentences in SENTENCES.values() for sentence in sentences for word in sentence.split()]
    return ", ".join(draw.sample(words, len(words)))
