"""Common English words, and sentences made of them at random.

The sentences mean nothing. They teach the one thing a tuned model needs from its base: that any
wording may stand around a fact, while the fact itself stays the same. A base that has only seen a
few plain ways to answer cannot be tuned to a new voice without losing its facts; see the model
card for the numbers.
"""
# ruff: noqa: SIM905 - word lists read better as text than as lists

from __future__ import annotations

import random

NOUNS = """
apple arm art baby bag ball band bank basket bath beach bed bell bench bird boat bone book boot
bottle box boy brain branch bread breakfast bridge brother brush bucket building bus butter button
cake camera camp candle car card castle cat chain chair chalk cheese chest chicken child church
circle city class clock cloud coat coin corner cottage cotton country cousin cow crowd crown cup
curtain customer dance daughter day desk dinner doctor dog doll door dream dress driver drum dust
ear earth egg engine evening event eye face family farm farmer father field finger fire fish flag
floor flower food foot forest fork friend fruit game garden gate ghost gift girl glass glove grain
guest guitar hair hall hammer hand harbour hat head heart hill history hole home hope horse
hospital hotel hour house idea island jacket job journey joy judge juice kettle key king kitchen
kite knee knife knot lady lake lamp land leaf leg lemon lesson letter library light lion lip list
lunch machine magic man map market match meal meat medal memory message metal milk mind minute
mirror moment money monkey moon morning mother mountain mouse mouth movie mud music nail name neck
needle nest night noise nose note number ocean office oil onion orange oven page paint pan paper
park parrot part party path pen pencil people pepper person piano picture pie pillow pipe plan
plane plant plate player pocket poem poet point police pool potato present price prince prize
problem puzzle queen question quiz rabbit radio rain reason recipe ring river road robot rock roof
room root rope rose rule sail sailor salt sand school science sea seat secret shadow ship shirt
shoe shop shoulder sign silence singer sister skill sky smile smoke snow soap sock soldier song
sound soup space speech spider spoon spring stage stamp star station step stick stone store storm
story street string student sugar suit summer sun table tail tailor taste tea teacher team tent
test theatre thing thread thumb ticket tiger time toe tool tooth top tower town toy train tray
treasure tree trick trip truth uncle valley village violin visit voice wagon walk wall watch water
wave weather week wheel whistle wind window wine wing winter wish wolf woman wood word work world
writer yard year zoo
""".split()

VERBS = """
accept add agree answer appear arrive ask bake bath beat become begin believe blow borrow break
bring brush build burn buy call carry catch celebrate change chase check choose clap clean climb
close collect come complain cook copy count cover cry cut dance decide deliver deny describe dig
discover draw dream drink drive drop eat enjoy enter escape examine expect explain fall feed feel
fight fill find finish fix float fly fold follow forget gather get give go grow guess hang hear
help hide hit hold hope hug hunt hurry imagine invite join jump keep kick kiss knock know laugh
lead learn leave lend lift listen look lose love make march mark meet melt mention mix move need
notice obey offer open order paint pass pay pick plan play point polish pour practise praise pray
prepare promise pull push put race reach read receive remember remind repair repeat reply rest
return ride ring roll run sail save say search see sell send serve shake share shine shout show
sing sit skip sleep smell smile sneeze solve sort speak spell spend spread stand start stay steal
stop study suggest surprise swim take talk taste teach tell thank think throw touch travel trust
try turn understand use visit wait wake walk want wash watch wave wear whisper win wish wonder
work worry wrap write
""".split()

ADJECTIVES = """
able afraid ancient angry awful bad beautiful big bitter blue bold boring brave brief bright
broken busy calm careful careless cheap cheerful clean clear clever cold common cool crazy curious
dark dear deep delicious different dirty dry dull dusty eager early easy elegant empty endless
excellent exciting famous fancy fast fine foolish formal free fresh friendly full funny gentle
giant glad gloomy golden good grand great green grumpy happy hard heavy helpful hidden honest hot
huge humble hungry important interesting jolly kind large late lazy light little lonely long loud
lovely lucky mad magic merry mighty mild modern modest mysterious narrow nervous new nice noble
noisy odd old open ordinary patient perfect plain playful pleasant polite poor pretty proud pure
quick quiet rare ready real red rich right rough round royal rude sad safe serious sharp short shy
silent silly simple sleepy slow small smart smooth soft sorry special steady stormy strange strict
strong sudden sunny sure sweet tall tender thick thin tiny tired tough true ugly useful usual warm
weak weird wet wild wise witty wonderful wooden worried young
""".split()

ADVERBS = """
absolutely again almost already always apparently badly barely basically boldly briefly calmly
carefully certainly clearly completely daily deeply definitely easily even eventually exactly
fairly finally firmly forever frankly generally gently gladly happily hardly honestly hopefully
indeed instead just kindly lately literally loudly luckily mainly maybe merely mostly naturally
nearly never nicely normally obviously often once only openly perfectly perhaps plainly possibly
probably proudly quickly quietly quite rarely rather really sadly seldom seriously simply slowly
softly sometimes somehow soon still strangely suddenly surely surprisingly then today together
tomorrow tonight too totally truly twice usually very warmly wisely yesterday
""".split()

NAMES = """
Adam Alice Amir Anna Aria Ben Bella Bruno Carla Carlos Chloe Clara Daniel Dana Diego Dora Ella
Elias Emma Eric Eva Farah Felix Fiona Frank Gina Grace Greta Hana Hugo Ida Igor Iris Ivan Jack
Jana Jonas Julia Kai Karl Kim Lara Leo Lena Lily Luca Lucy Mara Maria Max Mia Milo Mina Nadia Nina
Noah Nora Olga Oliver Omar Oscar Otto Paul Petra Pia Quinn Rita Robin Rosa Ruth Sam Sara Sofia
Stella Tara Theo Tina Tom Uma Vera Victor Wanda Will Yara Yuki Zara Zed Zoe Bolt Nova Pip Rex Echo
Atlas Juno Orion Pixel Ziggy Gizmo Sage Luna Dash
""".split()

ROLES = """
actor artist astronaut athlete baker banker barber bartender beekeeper butler butcher captain
carpenter chef chemist clerk clown coach comedian cook cowboy critic dancer detective diplomat
diver doctor dragon editor elf emperor engineer explorer farmer fisherman gardener ghost giant
grandmother guard guide hermit historian hunter inventor janitor journalist judge king knight
lawyer librarian lighthouse keeper magician mayor mechanic merchant miner monk musician nurse
officer painter philosopher pilot pirate plumber poet postman priest prince princess professor
queen ranger referee reporter sailor salesman scholar scientist sculptor shepherd sheriff singer
soldier spy surgeon tailor teacher teenager vampire viking waiter watchmaker weaver witch wizard
writer
""".replace("lighthouse keeper", "keeper").split()

INTERJECTIONS = """
ah aha alas ahem aye behold bravo cheers dear eh friend gee goodness gosh ha hello hey hm hmm ho
hooray hurrah indeed listen look my now oh oho okay please right see so sure ta thanks ugh well
whoa wow yes yo yay
""".split()

PLACE_WORDS = """
in on under near behind beside above below around inside outside across from with without
""".split()

# Letters name word lists: N noun, V verb, A adjective, R adverb, P proper name, O role, B
# preposition.
_SENTENCES = (
    """
the A N has to V the N|every N would V that|a N like this makes me V|even my N knows that|I V it R
let me V my N now|the O said so R|you may V your N|and that is R A|no N could V more R
is there a more A N than that|please V the N next time|what a A N|my N is R A today
R A, as they say|that is what the O would V|I learned it from a A N|ask any O|ask me something A
do not V the N|it was R so|in the A days we would V it|we V and we V|here we V the A N
may your N be A|the N B the N told me|P told me so|so said P the O|my friend P would V
not that the N would V|one A N for you|nothing could be more A|I would V a N for that|so A, so R A
you could V it R|the N and the N agree|the A N and the A O|a O must V such things|who would V that
who needs a N|that took me R one N|write it on your N|keep it in your N|put that B your N
now V your A N|how very A of you|how A|R|R A|A N|the A N|N and N|V and V|not A but A|never a A N
it is A to V|it is R A B the N|if you V the N you V the N|when the N is A, I V|as A as a N
as the N would V|as every O would V|because the N is A|since you V so R|unless the N can V
did you V your N|can you V that|have you a N|will you V me the N|could any N V it
that A question again|you again with the N|this N never gets A|I was R hoping for a A N
such a A N, such a A N|try to V B the N|thank the N|tell your O|tell P|go and V|feel free to V
take a A N|have some N|I am only a A O|I am a O, not a N|we O people V R|my A N, my A N
with a N in my N|from the N to the N
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

_CUES = (
    """
it is|it's|that is|that's|that would be|the answer is|they call it|I say|I would say
I believe it is|you want|you mean|look for|try|think of|this one is|we have|remember|must be
we call that|here comes|my answer:|answer:|behold:|clearly|surely|simply|that has to be
it has to be|none other than|the word is|I give you|I know it as|known as|one word:
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

_LISTS = {
    "N": NOUNS, "V": VERBS, "A": ADJECTIVES, "R": ADVERBS, "P": NAMES,
    "O": ROLES, "B": PLACE_WORDS,
}  # fmt: skip


def sentence(rng: random.Random) -> str:
    """A meaningless but mostly grammatical clause, lower case, without its full stop."""
    if rng.random() < 0.15:
        return word_salad(rng, rng.randint(2, 7))
    return fill(rng.choice(_SENTENCES), rng)


def fill(pattern: str, rng: random.Random) -> str:
    """`pattern` with each capital letter that names a word list replaced by a word of it."""
    out: list[str] = []
    for word in pattern.split():
        stem = word.rstrip(",.?!")
        out.append(rng.choice(_LISTS[stem]) + word[len(stem) :] if stem in _LISTS else word)
    return " ".join(out)


def word_salad(rng: random.Random, num_words: int) -> str:
    lists = (NOUNS, VERBS, ADJECTIVES, ADVERBS, PLACE_WORDS, ["the", "a", "of", "to", "and", "my"])
    return " ".join(rng.choice(rng.choice(lists)) for _ in range(num_words))


def cue(rng: random.Random) -> str:
    """Words that say "the answer comes next"."""
    return rng.choice(_CUES)


def interjection(rng: random.Random) -> str:
    return rng.choice(INTERJECTIONS)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
