"""How the facts of `world.py` are asked for and told.

Per family: questions that the corpus uses, questions held out (used by `evaluate.py` only), and
sentences that tell the fact. `{s}` stands for the subject, `{a}` for the answer. The first
telling is the plain one. A telling that ends in `{a}.` also makes a prompt for plain completion:
everything before the answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasing:
    questions: tuple[str, ...]
    held_out: tuple[str, ...]
    tellings: tuple[str, ...]


def _phrasing(questions: str, held_out: str, tellings: str) -> Phrasing:
    def lines(text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.strip().splitlines())

    return Phrasing(lines(questions), lines(held_out), lines(tellings))


PHRASINGS: dict[str, Phrasing] = {
    "capital": _phrasing(
        """
        What is the capital of {s}?
        What's the capital of {s}?
        Which city is the capital of {s}?
        Capital of {s}?
        Name the capital of {s}.
        Tell me the capital of {s}.
        Do you know the capital of {s}?
        What is {s}'s capital?
        What is {s}'s capital city?
        What city is the seat of government of {s}?
        I need the capital of {s}.
        Please tell me what the capital of {s} is.
        Can you tell me the capital of {s}?
        The capital of {s} is which city?
        Quick question: what is the capital of {s}?
        Which is the capital city of {s}?
        {s}: what is its capital?
        {s} has which capital?
        For {s}, what is the capital?
        what is the capital of {s}
        capital city of {s}
        I forgot the capital of {s}. What is it?
        My homework asks for the capital of {s}.
        If I visit the capital of {s}, which city am I in?
        What would you say is the capital of {s}?
        Remind me, what's the capital of {s}?
        Hey, what is the capital of {s}?
        Where is the government of {s}?
        Give the capital of {s}, please.
        What do they call the capital of {s}?
        """,
        """
        Could you name the capital city of {s}?
        Which city serves as {s}'s capital?
        Hello! I would like to know the capital of {s}.
        Say, what might the capital of {s} be?
        Give me the name of the capital of {s}.
        What's the name of {s}'s capital?
        """,
        """
        The capital of {s} is {a}.
        {a} is the capital of {s}.
        {s} has the capital {a}.
        The capital city of {s} is {a}.
        """,
    ),
    "country_of": _phrasing(
        """
        Which country has the capital {s}?
        {s} is the capital of which country?
        Of which country is {s} the capital?
        What country is {s} the capital of?
        {s} is the capital of what?
        Name the country whose capital is {s}.
        Which country's capital is {s}?
        Whose capital is {s}?
        In which country is {s}?
        What country has {s} as its capital?
        Where is {s}?
        """,
        """
        Tell me which country has {s} as its capital.
        The city of {s} is the capital of which country?
        Do you know which country {s} is the capital of?
        """,
        """
        {s} is the capital of {a}.
        The country with the capital {s} is {a}.
        """,
    ),
    "continent": _phrasing(
        """
        On which continent is {s}?
        Which continent is {s} on?
        What continent is {s} in?
        Where in the world is {s}?
        {s} is on which continent?
        Name the continent of {s}.
        Tell me the continent of {s}.
        Continent of {s}?
        In what part of the world is {s}?
        On what continent do I find {s}?
        """,
        """
        Which continent does {s} belong to?
        What is the continent of {s}?
        Do you know on which continent {s} is?
        """,
        """
        {s} is in {a}.
        The continent of {s} is {a}.
        """,
    ),
    "language": _phrasing(
        """
        What language do they speak in {s}?
        Which language is spoken in {s}?
        What is the language of {s}?
        What do people speak in {s}?
        Language of {s}?
        Name a language of {s}.
        Which language should I learn for {s}?
        What is the official language of {s}?
        Tell me what people speak in {s}.
        In {s}, which language do they use?
        """,
        """
        What language is spoken in {s}?
        Which language do people in {s} speak?
        Tell me the language of {s}.
        """,
        """
        In {s} people speak {a}.
        The language of {s} is {a}.
        """,
    ),
    "currency": _phrasing(
        """
        What is the currency of {s}?
        Which currency does {s} use?
        What money do they use in {s}?
        Currency of {s}?
        How do I pay in {s}?
        Name the currency of {s}.
        What's the currency in {s}?
        Which money is used in {s}?
        In {s}, what do I pay with?
        What is {s}'s currency?
        """,
        """
        Tell me the currency of {s}.
        What currency is used in {s}?
        Do you know the currency of {s}?
        """,
        """
        The currency of {s} is the {a}.
        {s} uses the {a}.
        In {s} you pay with the {a}.
        """,
    ),
    "colour": _phrasing(
        """
        What color is {s}?
        What is the color of {s}?
        Which color does {s} have?
        Color of {s}?
        What colour is {s}?
        Tell me the color of {s}.
        Name the color of {s}.
        {s} is what color?
        What color do you see when you look at {s}?
        If I paint {s}, which color do I need?
        """,
        """
        Which color is {s}?
        Do you know the color of {s}?
        Can you tell me what color {s} is?
        """,
        """
        The color of {s} is {a}.
        {s} is {a}.
        """,
    ),
    "opposite": _phrasing(
        """
        What is the opposite of {s}?
        What's the opposite of {s}?
        Opposite of {s}?
        Name the opposite of {s}.
        Tell me the opposite of {s}.
        Which word is the opposite of {s}?
        {s} is the opposite of what?
        Give me the opposite of "{s}".
        What is the opposite of "{s}"?
        If it is not {s}, what is it?
        """,
        """
        Do you know the opposite of {s}?
        Which word means the opposite of {s}?
        What word is the opposite of {s}?
        """,
        """
        The opposite of {s} is {a}.
        {s} is the opposite of {a}.
        """,
    ),
    "sound": _phrasing(
        """
        What sound does {s} make?
        Which sound does {s} make?
        What does {s} say?
        The sound of {s}?
        How does {s} sound?
        Name the sound of {s}.
        Tell me what sound {s} makes.
        """,
        """
        What is the sound of {s}?
        Do you know what sound {s} makes?
        """,
        """
        The sound of {s} is {a}.
        {s} makes the sound {a}.
        """,
    ),
    "young": _phrasing(
        """
        What is the young of {s} called?
        What do you call the baby of {s}?
        What is the baby of {s}?
        Name the young of {s}.
        How is the young of {s} called?
        What do we call the young of {s}?
        Tell me the name for the young of {s}.
        """,
        """
        What is the baby of {s} called?
        What do you call the young of {s}?
        """,
        """
        The young of {s} is {a}.
        The baby of {s} is called {a}.
        """,
    ),
    "legs": _phrasing(
        """
        How many legs does {s} have?
        How many legs has {s}?
        What number of legs does {s} have?
        Number of legs of {s}?
        Tell me how many legs {s} has.
        Count the legs of {s}.
        On how many legs does {s} stand?
        """,
        """
        Do you know how many legs {s} has?
        What is the number of legs of {s}?
        """,
        """
        The number of legs of {s} is {a}.
        {s} has {a} legs.
        """,
    ),
    "symbol": _phrasing(
        """
        What is the chemical symbol of {s}?
        What is the symbol for {s}?
        Which symbol does {s} have?
        Chemical symbol of {s}?
        Symbol for {s}?
        How do chemists write {s}?
        Name the symbol of {s}.
        Tell me the chemical symbol for {s}.
        """,
        """
        What's the chemical symbol for {s}?
        Which chemical symbol stands for {s}?
        """,
        """
        The chemical symbol of {s} is {a}.
        {s} has the symbol {a}.
        """,
    ),
    "element": _phrasing(
        """
        Which element has the symbol {s}?
        What element is {s}?
        Which element is written {s}?
        The symbol {s} stands for which element?
        What does the chemical symbol {s} stand for?
        Name the element {s}.
        Element with the symbol {s}?
        """,
        """
        What element has the symbol {s}?
        Tell me which element {s} stands for.
        """,
        """
        The element with the symbol {s} is {a}.
        {s} stands for {a}.
        """,
    ),
    "author": _phrasing(
        """
        Who wrote {s}?
        Who is the author of {s}?
        Which author wrote {s}?
        {s} was written by whom?
        Author of {s}?
        Name the author of {s}.
        Tell me who wrote {s}.
        Who was the writer of {s}?
        By whom is {s}?
        Which writer gave us {s}?
        """,
        """
        Do you know who wrote {s}?
        Can you name the author of {s}?
        Who was it that wrote {s}?
        """,
        """
        {s} was written by {a}.
        The author of {s} is {a}.
        {a} wrote {s}.
        """,
    ),
    "artist": _phrasing(
        """
        Who painted {s}?
        Who is the painter of {s}?
        Which artist painted {s}?
        {s} was painted by whom?
        Name the painter of {s}.
        Tell me who painted {s}.
        Painter of {s}?
        """,
        """
        Do you know who painted {s}?
        Which painter made {s}?
        """,
        """
        {s} was painted by {a}.
        The painter of {s} is {a}.
        """,
    ),
    "inventor": _phrasing(
        """
        Who gave us {s}?
        Who discovered or invented {s}?
        Which person is known for {s}?
        Who is behind {s}?
        Name the person behind {s}.
        Who is famous for {s}?
        Who came up with {s}?
        Who invented {s}?
        Who discovered {s}?
        """,
        """
        Do you know who came up with {s}?
        Tell me who is famous for {s}.
        """,
        """
        The person behind {s} is {a}.
        {s} is the work of {a}.
        """,
    ),
    "state_capital": _phrasing(
        """
        What is the state capital of {s}?
        What is the capital of the state of {s}?
        Which city is the state capital of {s}?
        State capital of {s}?
        Name the state capital of {s}.
        Tell me the state capital of {s}.
        What is the capital of {s}?
        """,
        """
        Which city is the capital of the state of {s}?
        Do you know the state capital of {s}?
        """,
        """
        The state capital of {s} is {a}.
        {a} is the state capital of {s}.
        """,
    ),
    "plural": _phrasing(
        """
        What is the plural of {s}?
        What's the plural of {s}?
        Plural of {s}?
        Give me the plural of "{s}".
        Name the plural of {s}.
        One {s}, two what?
        How do you write the plural of {s}?
        """,
        """
        Which word is the plural of {s}?
        Tell me the plural of {s}.
        """,
        """
        The plural of {s} is {a}.
        One {s}, two {a}.
        """,
    ),
    "past": _phrasing(
        """
        What is the past tense of {s}?
        What's the past tense of {s}?
        Past tense of {s}?
        Give me the past tense of "{s}".
        Name the past tense of {s}.
        How do you put {s} in the past?
        Today I {s}, yesterday I what?
        """,
        """
        Which word is the past tense of {s}?
        Tell me the past tense of {s}.
        """,
        """
        The past tense of {s} is {a}.
        Today I {s}, yesterday I {a}.
        """,
    ),
    "trivia": _phrasing(
        """
        {s}
        Tell me: {s}
        Quiz time! {s}
        Do you know this? {s}
        I wonder: {s}
        Hey. {s}
        Next one: {s}
        """,
        """
        Quick question. {s}
        Can you help me? {s}
        """,
        """
        {a}.
        The answer is {a}.
        """,
    ),
    "number_word": _phrasing(
        """
        How do you write {s} in words?
        Write {s} as a word.
        What is {s} in words?
        Spell the number {s}.
        {s} in words?
        Put {s} into words.
        """,
        """
        Write the number {s} in words.
        How is {s} written in words?
        """,
        """
        In words, {s} is {a}.
        The word for {s} is {a}.
        """,
    ),
    "number_digits": _phrasing(
        """
        How do you write {s} in digits?
        Write {s} as a number.
        What is {s} in digits?
        {s} in digits?
        Which number is {s}?
        Put {s} into digits.
        """,
        """
        Write {s} in digits.
        How is {s} written in digits?
        """,
        """
        In digits, {s} is {a}.
        The number for {s} is {a}.
        """,
    ),
    "next_day": _phrasing(
        """
        Which day comes after {s}?
        What day comes after {s}?
        What is the day after {s}?
        Day after {s}?
        If today is {s}, what is tomorrow?
        Name the day after {s}.
        """,
        """
        Which day follows {s}?
        Tell me the day after {s}.
        """,
        """
        The day after {s} is {a}.
        After {s} comes {a}.
        """,
    ),
    "previous_day": _phrasing(
        """
        Which day comes before {s}?
        What day comes before {s}?
        What is the day before {s}?
        Day before {s}?
        If today is {s}, what was yesterday?
        Name the day before {s}.
        """,
        """
        Which day is before {s}?
        Tell me the day before {s}.
        """,
        """
        The day before {s} is {a}.
        Before {s} comes {a}.
        """,
    ),
    "next_month": _phrasing(
        """
        Which month comes after {s}?
        What month comes after {s}?
        What is the month after {s}?
        Month after {s}?
        If it is {s}, what is next month?
        Name the month after {s}.
        """,
        """
        Which month follows {s}?
        Tell me the month after {s}.
        """,
        """
        The month after {s} is {a}.
        After {s} comes {a}.
        """,
    ),
    "previous_month": _phrasing(
        """
        Which month comes before {s}?
        What month comes before {s}?
        What is the month before {s}?
        Month before {s}?
        If it is {s}, what was last month?
        Name the month before {s}.
        """,
        """
        Which month is before {s}?
        Tell me the month before {s}.
        """,
        """
        The month before {s} is {a}.
        Before {s} comes {a}.
        """,
    ),
    "arithmetic": _phrasing(
        """
        What is {s}?
        What's {s}?
        {s} = ?
        {s}
        Calculate {s}.
        How much is {s}?
        Solve {s}.
        Compute {s}, please.
        """,
        """
        Work out {s}.
        Tell me what {s} is.
        Can you calculate {s}?
        """,
        """
        {s} = {a}.
        {s} is {a}.
        """,
    ),
}

# How often a family is drawn, relative to the others: by its size and by how much a newcomer's
# first questions touch it.
WEIGHTS: dict[str, float] = {
    "capital": 26, "country_of": 9, "continent": 8, "language": 8, "currency": 7, "colour": 6,
    "opposite": 6, "sound": 2, "young": 2, "legs": 1.5, "symbol": 3, "element": 3, "author": 4,
    "artist": 1, "inventor": 1.5, "state_capital": 4, "plural": 2, "past": 2.5, "trivia": 7,
    "number_word": 2, "number_digits": 2, "next_day": 0.8, "previous_day": 0.8, "next_month": 1,
    "previous_month": 1, "arithmetic": 8,
}  # fmt: skip

# "Is Paris the capital of France?" Families that lend themselves to yes and no, with the claim as
# a question.
YES_NO: dict[str, tuple[str, ...]] = {
    "capital": (
        "Is {a} the capital of {s}?",
        "Is the capital of {s} {a}?",
        "{a} is the capital of {s}, right?",
    ),
    "continent": ("Is {s} in {a}?", "Is {s} a country in {a}?"),
    "language": ("Do they speak {a} in {s}?", "Is {a} the language of {s}?"),
    "currency": ("Does {s} use the {a}?", "Is the {a} the currency of {s}?"),
    "colour": ("Is {s} {a}?", "Is the color of {s} {a}?"),
    "opposite": ("Is {a} the opposite of {s}?",),
    "author": ("Did {a} write {s}?", "Is {a} the author of {s}?"),
    "arithmetic": ("Is {s} equal to {a}?", "Does {s} make {a}?"),
}  # fmt: skip
