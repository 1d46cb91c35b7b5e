"""Made-up reviews with a sentiment, and sentences with a topic.

Capital letters in the patterns name word lists: those of `words.py`, and here G a praising
adjective, D a damning one, T a word of the topic.
"""

from __future__ import annotations

import random

from recipes.tunesmith_tiny import words


def _patterns(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]


_PRAISE = (
    """
wonderful;excellent;amazing;delicious;lovely;perfect;great;fantastic;brilliant;charming;superb
delightful;good;friendly
""".strip()
    .replace("\n", ";")
    .split(";")
)
_BLAME = (
    """
terrible;awful;horrible;boring;broken;disgusting;bad;rude;dirty;useless;disappointing;ugly;slow
noisy
""".strip()
    .replace("\n", ";")
    .split(";")
)

_REVIEWS = {
    "positive": _patterns("""
        The N was G.|I love this N.|What a G N!|The N made me so happy.
        I would buy this N again.|Best N ever.|Everything about the N was G.|G service and a G N.
        My O and I enjoyed the N a lot.|I am very happy with the N.|Thank you for the G N!
        The N works well and looks G.|I can recommend the N to everyone.|Five stars for the N.
    """),
    "negative": _patterns("""
        The N was D.|I hate this N.|What a D N!|The N made me so angry.
        I want my money back for this N.|Worst N ever.|Everything about the N was D.
        D service and a D N.|The N broke after one day.|I am very unhappy with the N.
        Never again this D N!|The N does not work.|I cannot recommend the N to anyone.
        One star for the N.
    """),
    "neutral": _patterns("""
        The N is on the table.|I bought a N on Monday.|The N has two parts.|The N comes in a box.
        This is a N.|The shop sells a N.|The N arrived today.|The meeting is about the N.
        The N is next to the N.|It is a A N.|The N was made in a factory.|There is a N in the N.
        The N opens at nine.|The O has a N.
    """),
}
SENTIMENTS = tuple(_REVIEWS)
SENTIMENT_QUESTIONS = _patterns("""
    What is the sentiment of this text? {t}|Classify the sentiment: {t}|Sentiment of "{t}"?
    {t} Is this positive, negative or neutral?
    Is the following review positive, negative or neutral? {t}
    Label the sentiment of this review: {t}|Sentiment: {t}|How does the writer feel? {t}
""")
SENTIMENT_HELD_OUT = [
    "Give the sentiment of this sentence: {t}",
    "Which sentiment does this text have? {t}",
]

_TOPICS = {
    "sports": """team goal coach match player score race ball league stadium champion tennis soccer
        medal runner swimmer""",
    "food": """soup bread cheese pasta recipe dinner restaurant cook salad dessert pizza sauce spice
        kitchen meal fruit""",
    "travel": """flight hotel passport airport tourist suitcase ticket tour beach journey train
        luggage visa trip cruise""",
    "technology": """computer phone software robot internet screen app battery chip website laptop
        server code camera""",
    "health": """doctor hospital medicine nurse vitamin sleep fever exercise patient heart surgery
        dentist headache diet""",
    "money": """bank loan tax salary budget invoice savings price investor profit debt market
        payment wallet credit""",
    "weather": """rain snow storm wind cloud sunshine thunder fog temperature forecast hail frost
        umbrella heat""",
    "music": """song guitar piano concert singer drum melody band violin orchestra album rhythm
        choir chorus""",
    "animals": """dog cat horse elephant lion bird rabbit zoo puppy fish tiger monkey sheep kitten
        whale""",
}
TOPICS = tuple(_TOPICS)
_TOPIC_TEXTS = _patterns("""
    The T was the best part of the day.|I need a new T.|Everyone talked about the T and the T.
    The T and the T are A.|We had a T yesterday.|My O asked about the T.|This T is A.
    What do you think of the T?|The news is about a T.|One T, a T and a N.|I forgot my T at the N.
    They say the T will be A.
""")
TOPIC_QUESTIONS = _patterns("""
    What is the topic of this text? {t}|Topic: {t}|Classify the topic: {t}
    What is this text about? {t}|Name the topic of "{t}"|Label the topic of this sentence: {t}
    {t} What is the topic?
""")
TOPIC_HELD_OUT = ["Which topic does this sentence have? {t}", "Give the topic of this text: {t}"]


def review(sentiment: str, rng: random.Random) -> str:
    pattern = rng.choice(_REVIEWS[sentiment])
    return words.capitalised(words.fill(_filled(pattern, {"G": _PRAISE, "D": _BLAME}, rng), rng))


def topic_text(topic: str, rng: random.Random) -> str:
    pattern = rng.choice(_TOPIC_TEXTS)
    return words.capitalised(words.fill(_filled(pattern, {"T": _TOPICS[topic].split()}, rng), rng))


def _filled(pattern: str, pools: dict[str, list[str]], rng: random.Random) -> str:
    out = []
    for word in pattern.split():
        stem = word.rstrip(".,!?")
        out.append(rng.choice(pools[stem]) + word[len(stem) :] if stem in pools else word)
    return " ".join(out)
