"""Texts to be labelled, and prompts that say which labels there are.

Labels go by several names, come in any order, and not always all of them; sometimes letters stand
for them. So the prompt has to be read. Capital letters in the patterns are those of `words.py`;
G, D and T have lists of their own here.
"""
# ruff: noqa: E501 - the text is data, a line is a unit

from __future__ import annotations

import random
from dataclasses import dataclass

from recipes.tunesmith_tiny import values, words
from recipes.tunesmith_tiny.tasks import Task

# Of each label's patterns, every sixth is kept for the evaluation.
_HELD_OUT_EVERY = 6


@dataclass(frozen=True)
class Labelling:
    noun: str
    names: dict[str, list[str]]  # of each label; the first is the usual one
    patterns: dict[str, list[str]]

    def trained(self, label: str) -> list[str]:
        return [p for i, p in enumerate(self.patterns[label], 1) if i % _HELD_OUT_EVERY]

    def held_out(self, label: str) -> list[str]:
        return self.patterns[label][_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]


def _lines(**texts: str) -> dict[str, list[str]]:
    return {
        label: [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]
        for label, text in texts.items()
    }


_INTENT = Labelling(
    "intent",
    {
        "refund": ["refund", "money_back"], "shipping": ["shipping", "delivery"],
        "login": ["login", "account", "password"], "billing": ["billing", "invoice", "payment"],
        "cancel": ["cancel", "cancellation"], "bug": ["bug", "technical", "error"],
        "praise": ["praise", "thanks", "compliment"], "hours": ["hours", "opening_hours"],
    },
    _lines(
        refund="""I want my money back.|Please refund the N.|Can I get a refund for the N?
            Give me back what I paid.|I return the N and want my money.|When do I get my refund?
            I would like to be refunded.|The N is broken, I want my money back.|Refund, please!
            Where is my refund for the N?|Pay the money back to me.|I sent the N back. My money, please.
            How can I return the N for a refund?""",
        shipping="""Where is my package?|My N has not arrived yet.|When will the N be delivered?
            The delivery is late.|How long does shipping take?|Has my N been shipped?
            My parcel is lost.|Do you deliver to P?|The package came to the wrong address.
            I am still waiting for my N.|Can you track my parcel?|The delivery of my N is too slow.
            The parcel with the N did not come.""",
        login="""I cannot log in.|I forgot my password.|How do I reset my password?
            My account is locked.|The login does not work.|I can't sign in to my account.
            The password link has expired.|I need a new password.|My user name is not accepted.
            I have no access to my account.|Please unlock my account.|It says that my password is wrong.
            Signing in fails every time.""",
        billing="""My invoice is wrong.|You charged me twice.|I have a question about my bill.
            Why is the invoice so high?|The payment failed.|I need an invoice for the N.
            Which credit cards do you take?|The bill shows a N that I never bought.|I was charged too much.
            Please send me the bill again.|My card was charged two times.|The price on the invoice is wrong.
            How can I pay my bill?""",
        cancel="""I want to cancel my order.|Please cancel the N.|Stop my subscription.
            I do not want the N any more.|How do I cancel my contract?|Cancel everything, please.
            End my subscription today.|I changed my mind about the N, please stop the order.
            Can I still cancel?|Delete my order of the N.|I no longer need the N, cancel it.
            Please end my contract.|Take my order back, I do not need it.""",
        bug="""The app crashes.|The page shows an error.|Your website does not load.
            The screen stays black.|I found a bug in the app.|The button does nothing.
            The app freezes when I V.|There is an error on the N page.|The program stops after a minute.
            The search does not work.|The page is broken.|I get an error message about the N.
            The app crashes when I open the N.""",
        praise="""Thank you for the A N!|You do great work.|I love your N.|Your team is great.
            Best service ever!|Thanks for your help.|I am very happy with the N.|Great job!
            Wonderful support, thank you.|Everything was perfect, thanks.|You helped me so well.
            Many thanks to the A O.|Your N is the best.""",
        hours="""When do you open?|Are you open on Sunday?|What are your opening hours?
            Until when is the shop open?|Do you close on holidays?|When does the N close?
            Is the N open today?|At what time do you open on Monday?|Are you closed at Christmas?
            How long are you open today?|Which days are you open?|Is your shop open in the evening?
            When can I come to your shop?""",
    ),
)  # fmt: skip

_EMOTION = Labelling(
    "emotion",
    {
        "joy": ["joy", "happiness", "happy"], "sadness": ["sadness", "sad"],
        "anger": ["anger", "angry"], "fear": ["fear", "afraid"], "surprise": ["surprise", "surprised"],
    },
    _lines(
        joy="""I am so happy today!|What a lovely day with my N.|We won, hooray!|I laughed all day.
            This makes me smile.|I am glad about the N.|My heart dances.|We celebrate with P!
            I could sing all day.|Life is wonderful.|I enjoy every minute.|I am delighted with the N.
            Everyone was cheerful and laughed.|I love my A N so much!""",
        sadness="""I cried all night.|I miss my N.|My O died.|I feel so lonely.|My heart is broken.
            I am sad about the N.|Nothing makes me smile any more.|Tears run down my face.
            I lost my best friend.|We had to say goodbye to P.|I feel empty and alone.|I am so unhappy.
            She wept for her N.|The N is gone and I can only cry.""",
        anger="""I am furious!|How dare you take my N!|This makes me so angry.|I hate it when you V.
            Stop it right now!|I could scream at the O.|That O is an idiot.|I am mad at you.
            Leave me alone!|I am sick of your N.|You ruined my N!|This is an outrage.
            I am so angry at P.|I will never forgive you!""",
        fear="""I am afraid of the N.|Something moves in the dark.|My hands are shaking.
            I am scared.|Help, there is a N behind me!|I dare not go outside.|I am terrified of the N.
            What if they find us?|I hide under the bed.|The N frightens me.|I heard steps and could not breathe.
            I am scared of the dark N.|I am so frightened that I cannot sleep.|Please do not leave me alone with the N.""",
        surprise="""I did not expect that!|Wow, a N!|I cannot believe it.|What, you are here?
            Out of nowhere came a N.|Really? A N?|I never thought that P would come.|My jaw dropped.
            That is unbelievable!|Suddenly there was a N.|Who would have thought that?
            Oh, I had no idea!|What a surprise, a N!|I am amazed, how did you do that?""",
    ),
)  # fmt: skip

_SPAM = Labelling(
    "kind",
    {"spam": ["spam", "junk"], "not spam": ["not spam", "ham", "normal"]},
    _lines(
        **{
            "spam": """You have won a N! Click here.|Make money fast from home.|Free N for you, only today!
            Congratulations, you are our winner!|Buy cheap pills now.|Earn 5000 dollars a week!
            Claim your prize now.|Limited offer: win a N.|Click this link to get your money.
            You were chosen for a free N.|Send your bank details to get your prize.|100% free, act now!
            Lose weight fast with this secret.|Your account will be closed, click here now.
            Hot deal: get rich with the N.|Dear friend, I have ten million dollars for you.
            Win a free trip today!|Cheap watches, best price, click now.""",
            "not spam": """Are we still meeting on Monday?|Here are the notes about the N.
            Can you bring the N tomorrow?|The meeting is at nine.|Thank you for the N.|See you at the N.
            Please find the N in the bag.|Dad called about the N.|Could you V the N before Friday?
            Lunch at noon?|I will be late today.|The O asks about the N.|Happy birthday, P!
            My train arrives at eight.|P and I are at the N.|Do you know where my N is?
            The children are at the N.|Your appointment with the O is on Tuesday.""",
        }
    ),
)  # fmt: skip

_URGENCY = Labelling(
    "urgency",
    {
        "high": ["high", "urgent", "critical"], "medium": ["medium", "normal"],
        "low": ["low", "minor"],
    },
    _lines(
        high="""Nothing works, help at once!|The whole N is down.|We lose money every minute.
            This is an emergency.|All users are locked out.|Urgent: the N is on fire.|Please hurry, it is critical.
            The server is down.|I need it right now.|Water runs out of the N, come at once!
            We cannot work at all.|Data is being lost.|Immediately stop the N!|The shop stands still, call now.""",
        medium="""The N is slow today.|Please fix the N this week.|One of us cannot V.|The N fails sometimes.
            Can you look at the N soon?|The report has a wrong number.|I need the N by Friday.
            The N works, but not well.|Some pages load slowly.|Please answer in a few days.
            My N has a problem since Monday.|The printer jams now and then.|Could you repair the N this week?
            It fails from time to time.""",
        low="""When you have time, change the N.|No hurry: the N could be A.|Just an idea for the N.
            It would be nice to have a A N.|A small typo on the page.|Someday we could V the N.
            It is not important, but the N is A.|Only a question about the N.|The color of the N could be nicer.
            Whenever you like.|This can wait.|A wish for later: a A N.|There is no rush with the N.
            If you ever have time, look at the N.""",
    ),
)  # fmt: skip

_STARS = Labelling(
    "stars",
    {"5": ["5"], "4": ["4"], "3": ["3"], "2": ["2"], "1": ["1"]},
    _lines(
        **{
            "5": """Perfect N, I love it!|The best N ever.|Everything was excellent.|Absolutely wonderful!
            I could not be happier.|A dream of a N.|Fantastic, buy it!|Amazing N, amazing service.
            Simply perfect.|Outstanding in every way.|The N is brilliant, I love everything.
            Superb! I want another N.|Excellent N, could not be better.""",
            "4": """Good N, only a little A.|I like it, but it is not perfect.|Very nice, with one small fault.
            Good, but the N could be better.|Nice N, I was mostly happy.|Almost perfect.
            A good buy, a bit A.|I like the N, it just came late.|Pretty good.|Good service, small N.
            Solid and good, only the N is A.|Nearly everything was good.|I like it, one little thing is missing.""",
            "3": """It is okay.|Not good, not bad.|An average N.|So so.|The N is fine, nothing more.
            Half of it is good, half is bad.|Neither great nor terrible.|It does its job.|Mediocre N.
            I have mixed feelings about the N.|Okay, but nothing special.|It is all right.|Just average.""",
            "2": """Not very good.|I am disappointed with the N.|The N is rather bad.|I expected more.
            Poor N, but the O was nice.|It barely works.|Below average.|More bad than good.
            I would not buy the N again.|Weak N, only the color is nice.|Rather poor.|The N disappoints.
            I had hoped for more, it is rather weak.""",
            "1": """Terrible N, never again!|The worst N ever.|It broke at once, awful.|Total waste of money.
            I hate it.|Horrible in every way.|Absolutely useless.|Disgusting, I want my money back.
            Everything was awful.|Do not buy this N!|The N is garbage.|The worst service of my life.
            Awful! It never worked.""",
        }
    ),
)  # fmt: skip

# T: a thing in that language. Phrases for daily life, and word lists short enough to check.
_LANGUAGE = Labelling(
    "language",
    {
        "English": ["English", "en"], "French": ["French", "fr"], "German": ["German", "de"],
        "Spanish": ["Spanish", "es"], "Italian": ["Italian", "it"],
    },
    _lines(
        English="""Where is the T?|I would like a T, please.|The T is very beautiful.|We have no T.
            My T is at home.|Do you have a T?|I am looking for my T.|Thank you for the T.|This is my T.
            Good evening, how are you?|I do not understand the T.|He sees the T every day.
            She has a T and a T.|The T is on the table.""",
        French="""Où est le T ?|Je voudrais un T, s'il vous plaît.|Le T est très beau.|Nous n'avons pas de T.
            Mon T est à la maison.|Avez-vous un T ?|Je cherche mon T.|Merci pour le T.|C'est mon T.
            Bonsoir, comment allez-vous ?|Je ne comprends pas le T.|Il voit le T tous les jours.
            Elle a un T et un T.|Le T est sur la table.""",
        German="""Wo ist das T?|Ich möchte ein T, bitte.|Das T ist sehr schön.|Wir haben kein T.
            Mein T ist zu Hause.|Haben Sie ein T?|Ich suche mein T.|Danke für das T.|Das ist mein T.
            Guten Abend, wie geht es Ihnen?|Ich verstehe das T nicht.|Er sieht das T jeden Tag.
            Sie hat ein T und ein T.|Das T ist auf dem Tisch.""",
        Spanish="""¿Dónde está el T?|Quisiera un T, por favor.|El T es muy bonito.|No tenemos T.
            Mi T está en casa.|¿Tiene usted un T?|Estoy buscando mi T.|Gracias por el T.|Este es mi T.
            Buenas noches, ¿cómo está usted?|No entiendo el T.|Él ve el T todos los días.
            Ella tiene un T y un T.|El T está sobre la mesa.""",
        Italian="""Dov'è il T?|Vorrei un T, per favore.|Il T è molto bello.|Non abbiamo il T.
            Il mio T è a casa.|Ha un T?|Sto cercando il mio T.|Grazie per il T.|Questo è il mio T.
            Buona sera, come sta?|Non capisco il T.|Lui vede il T ogni giorno.|Lei ha un T e un T.
            Il T è sul tavolo.""",
    ),
)  # fmt: skip
_THINGS = {
    "English": "book train house dog bread garden newspaper car key cheese ticket letter",
    "French": "livre train jardin chien pain fromage journal stylo vin billet poisson bureau",
    "German": "Buch Haus Brot Auto Kind Zimmer Fenster Bier Messer Schiff Fahrrad Geschenk",
    "Spanish": "libro tren perro pan queso coche vino billete pescado cuaderno zapato abrigo",
    "Italian": "libro treno cane pane formaggio giornale vino biglietto pesce quaderno cappello ombrello",
}

LABELLINGS = {
    "intent": _INTENT, "emotion": _EMOTION, "language": _LANGUAGE, "spam": _SPAM,
    "urgency": _URGENCY, "stars": _STARS,
}  # fmt: skip
_WEIGHTS = [0.27, 0.2, 0.15, 0.12, 0.13, 0.13]

# {l}: the labels, {n}: what they are labels of.
_ASKS = [
    "Classify the message as {l}", "Label the text with one of: {l}", "Is this {l}",
    "What is the {n} of this text: {l}", "{n}? Choose from {l}", "Choose the right {n}: {l}",
    "Answer with one of these labels: {l}", "Labels: {l}. Which one fits", "Give the {n}. One of {l}",
    "You label messages. The labels are {l}", "Classify the {n}: {l}", "Sort the message into {l}",
]  # fmt: skip
_ASKS_HELD_OUT = ["Decide which {n} the following text has: {l}", "Pick one {n} out of {l}"]
_ONLY = ["", "", ". Answer with the label only", ". One word", ". Only the label"]


def label_task(rng: random.Random, kind: str | None = None, *, held_out: bool = False) -> Task:
    """`held_out`: texts and prompts that training never shows, and all labels to choose from."""
    labelling = LABELLINGS[kind or rng.choices(list(LABELLINGS), _WEIGHTS)[0]]
    labels = list(labelling.names)
    if not held_out and len(labels) > 2 and rng.random() < 0.4:
        labels = rng.sample(labels, rng.randint(2, len(labels)))
    if rng.random() < 0.5:
        rng.shuffle(labels)
    others = 0.0 if held_out else 0.3
    shown = {
        label: rng.choice(names) if rng.random() < others else names[0]
        for label, names in labelling.names.items()
        if label in labels
    }
    shown = {label: shown[label] for label in labels}
    if not held_out and labelling is not _STARS and rng.random() < 0.08:
        shown = {label: name.capitalize() for label, name in shown.items()}
    choices = _listed(list(shown.values()), rng)
    if not held_out and labelling is not _STARS and rng.random() < 0.12:
        letters = "ABCDEFGH"[: len(labels)]
        choices = ", ".join(
            f"{letter} = {name}" for letter, name in zip(letters, shown.values(), strict=True)
        )
        shown = dict(zip(labels, letters, strict=True))
    ask = rng.choice(_ASKS_HELD_OUT if held_out else _ASKS).format(l=choices, n=labelling.noun)
    ask += rng.choice(_ONLY)

    def exchange() -> tuple[str, str]:
        label = rng.choice(labels)
        return text_of(labelling, label, rng, held_out=held_out), shown[label]

    if rng.random() < 0.5:
        num_turns = 1 if held_out else rng.choice([1, 2, 3, 4])
        return Task.of([exchange() for _ in range(num_turns)], system=words.capitalised(ask) + ".")
    text, answer = exchange()
    end = "?" if ask.startswith(("Is ", "What ", "Labels")) else ":"
    asked = rng.choice([f"{ask}{end} {text}", f"{ask}{end}\n{text}", f"{text}\n{ask}.",
                        f'{ask}{end} "{text}"'])  # fmt: skip
    return Task.of([(words.capitalised(asked), answer)])


def text_of(labelling: Labelling, label: str, rng: random.Random, *, held_out: bool = False) -> str:
    pattern = rng.choice(labelling.held_out(label) if held_out else labelling.trained(label))
    if labelling is _LANGUAGE:
        things = _THINGS[label].split()
        text = " ".join(
            rng.choice(things) + word[1:] if word.rstrip(".,?!") == "T" else word
            for word in pattern.split()
        )
    else:
        text = words.fill(pattern, rng)
    if not held_out:
        kind = rng.random()
        if kind < 0.08:
            text = text.lower()
        elif kind < 0.14:
            text = text.rstrip(".!?")
        elif kind < 0.24 and labelling is _INTENT:
            greeting = rng.choice(["Hello,", "Hi!", "Dear team,", f"This is {values.name(rng)}."])
            text = f"{greeting} {text}"
    return text


def _listed(names: list[str], rng: random.Random) -> str:
    form = rng.random()
    if form < 0.2:
        names = [f'"{name}"' for name in names]
    last = rng.choice([" or ", " or ", ", ", ", ", " / "])
    if last == " / ":
        return last.join(names)
    return ", ".join(names[:-1]) + last + names[-1]
