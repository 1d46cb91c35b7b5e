"""What tunesmith-tiny knows: every fact of its world, as (family, subject, answer).

The world is small on purpose. Five million weights can hold a couple of thousand facts and hold
them *right*; anything bigger would be remembered by halves. Countries live next door in
`countries.py`; how facts are asked and told is in `phrasings.py`.
"""
# ruff: noqa: SIM905 - word lists read better as text than as lists

from __future__ import annotations

from dataclasses import dataclass

from recipes.tunesmith_tiny.countries import COUNTRIES


@dataclass(frozen=True)
class Fact:
    family: str  # names the phrasings that ask for it
    subject: str
    answer: str


def _pairs(table: str) -> list[tuple[str, str]]:
    """The (subject, answer) pairs of a table written `subject=answer; subject=answer`."""
    pairs = []
    for item in table.replace("\n", " ").split(";"):
        if item.strip():
            subject, answer = item.split("=")
            pairs.append((subject.strip(), answer.strip()))
    return pairs


COLOURS = _pairs("""
grass=green; the sky=blue; snow=white; coal=black; blood=red; a banana=yellow; a carrot=orange;
an eggplant=purple; a flamingo=pink; chocolate=brown; an elephant=gray; the sun=yellow;
a tomato=red; a lime=green; milk=white; a raven=black; a strawberry=red; a lemon=yellow;
a pumpkin=orange; a frog=green; a crow=black; a swan=white; a cherry=red; a cucumber=green;
mustard=yellow; honey=golden; a ruby=red; an emerald=green; a sapphire=blue; a polar bear=white;
a fire engine=red; a leaf=green; a pea=green; spinach=green; broccoli=green; salt=white;
flour=white; soot=black; tar=black; ink=black; a lobster=red; a brick=red; a sunflower=yellow;
corn=yellow; a canary=yellow; butter=yellow; a tangerine=orange; a fox=orange; a violet=purple;
a plum=purple; lavender=purple; a pig=pink; a salmon=pink; coffee=brown; a chestnut=brown;
mud=brown; a bear=brown; silver=gray; ash=gray; a mouse=gray; a blueberry=blue; the sea=blue;
a panda=black and white; a zebra=black and white; a penguin=black and white; gold=golden;
ice=white; an olive=green; an avocado=green; a raspberry=red
""")

OPPOSITES = _pairs("""
hot=cold; big=small; fast=slow; up=down; left=right; day=night; black=white; happy=sad; old=young;
rich=poor; early=late; high=low; long=short; hard=soft; heavy=light; full=empty; open=closed;
wet=dry; clean=dirty; strong=weak; thick=thin; wide=narrow; deep=shallow; loud=quiet; bright=dark;
true=false; good=bad; right=wrong; first=last; near=far; inside=outside; above=below;
before=after; love=hate; war=peace; win=lose; buy=sell; give=take; push=pull; come=go;
start=finish; begin=end; laugh=cry; sleep=wake; remember=forget; arrive=leave; always=never;
everything=nothing; easy=difficult; cheap=expensive; safe=dangerous; sharp=blunt; smooth=rough;
sweet=bitter; alive=dead; rise=fall; increase=decrease; accept=refuse; attack=defend;
brave=cowardly; friend=enemy; entrance=exit; ancient=modern; summer=winter; north=south;
east=west; front=back; top=bottom; best=worst; more=less; many=few; same=different;
simple=complex; success=failure; victory=defeat; visible=hidden; loose=tight; polite=rude;
kind=cruel; lazy=busy; calm=nervous; healthy=sick; tall=short; asleep=awake; guilty=innocent;
answer=question; borrow=lend; build=destroy; freeze=melt; float=sink; import=export; find=lose;
public=private; maximum=minimum; positive=negative; odd=even; generous=greedy; humble=proud;
wise=foolish; noisy=silent; straight=curved; fresh=stale; raw=cooked; warm=cool; whisper=shout;
add=subtract; multiply=divide
""")

SOUNDS = _pairs("""
a dog=bark; a cat=meow; a cow=moo; a sheep=baa; a duck=quack; a pig=oink; a lion=roar;
a horse=neigh; a bee=buzz; a snake=hiss; an owl=hoot; a frog=croak; a rooster=crow;
a mouse=squeak; a wolf=howl; a bird=chirp; a donkey=bray; a crow=caw; a hen=cluck; a goat=bleat;
an elephant=trumpet; a pigeon=coo; a bear=growl; a turkey=gobble
""")

YOUNG = _pairs("""
a dog=a puppy; a cat=a kitten; a cow=a calf; a sheep=a lamb; a horse=a foal; a pig=a piglet;
a duck=a duckling; a goose=a gosling; a hen=a chick; a lion=a cub; a goat=a kid; a deer=a fawn;
a kangaroo=a joey; a frog=a tadpole; a swan=a cygnet; an owl=an owlet; a butterfly=a caterpillar;
a seal=a pup; an eagle=an eaglet; a hare=a leveret; a human=a baby; an elephant=a calf;
a bear=a cub; a whale=a calf; a wolf=a pup; a rabbit=a kit
""")

LEGS = _pairs("""
a spider=eight; an ant=six; a dog=four; a bird=two; a cat=four; a human=two; a horse=four;
a beetle=six; a bee=six; a snake=zero; a crab=ten; a table=four; a fish=zero; a chicken=two;
a cow=four; a lobster=ten; a butterfly=six; a frog=four; a worm=zero; a scorpion=eight;
an elephant=four; a penguin=two
""")

SYMBOLS = _pairs("""
hydrogen=H; helium=He; lithium=Li; beryllium=Be; boron=B; carbon=C; nitrogen=N; oxygen=O;
fluorine=F; neon=Ne; sodium=Na; magnesium=Mg; aluminium=Al; silicon=Si; phosphorus=P; sulfur=S;
chlorine=Cl; argon=Ar; potassium=K; calcium=Ca; titanium=Ti; chromium=Cr; manganese=Mn; iron=Fe;
cobalt=Co; nickel=Ni; copper=Cu; zinc=Zn; arsenic=As; bromine=Br; krypton=Kr; silver=Ag; tin=Sn;
iodine=I; xenon=Xe; barium=Ba; tungsten=W; platinum=Pt; gold=Au; mercury=Hg; lead=Pb; radon=Rn;
radium=Ra; uranium=U; plutonium=Pu
""")

AUTHORS = _pairs("""
Romeo and Juliet=William Shakespeare; Hamlet=William Shakespeare; Macbeth=William Shakespeare;
Pride and Prejudice=Jane Austen; Emma=Jane Austen; Oliver Twist=Charles Dickens;
Great Expectations=Charles Dickens; Moby Dick=Herman Melville; War and Peace=Leo Tolstoy;
Anna Karenina=Leo Tolstoy; Crime and Punishment=Fyodor Dostoevsky; The Idiot=Fyodor Dostoevsky;
1984=George Orwell; Animal Farm=George Orwell; The Hobbit=J. R. R. Tolkien;
The Lord of the Rings=J. R. R. Tolkien; Don Quixote=Miguel de Cervantes; The Odyssey=Homer;
The Iliad=Homer; Faust=Johann Wolfgang von Goethe; Frankenstein=Mary Shelley; Dracula=Bram Stoker;
Jane Eyre=Charlotte Bronte; Wuthering Heights=Emily Bronte; The Divine Comedy=Dante Alighieri;
Les Miserables=Victor Hugo; The Three Musketeers=Alexandre Dumas; Madame Bovary=Gustave Flaubert;
Alice in Wonderland=Lewis Carroll; Peter Pan=J. M. Barrie; Treasure Island=Robert Louis Stevenson;
Robinson Crusoe=Daniel Defoe; Gulliver's Travels=Jonathan Swift; The Time Machine=H. G. Wells;
The Great Gatsby=F. Scott Fitzgerald; The Old Man and the Sea=Ernest Hemingway;
The Trial=Franz Kafka; Ulysses=James Joyce; Harry Potter=J. K. Rowling; Dune=Frank Herbert;
The Jungle Book=Rudyard Kipling; Pinocchio=Carlo Collodi; Heidi=Johanna Spyri;
Little Women=Louisa May Alcott; Tom Sawyer=Mark Twain; Huckleberry Finn=Mark Twain;
The Raven=Edgar Allan Poe; The Little Prince=Antoine de Saint-Exupery;
The Count of Monte Cristo=Alexandre Dumas; Around the World in Eighty Days=Jules Verne;
Sherlock Holmes=Arthur Conan Doyle
""")

ARTISTS = _pairs("""
the Mona Lisa=Leonardo da Vinci; The Starry Night=Vincent van Gogh; Guernica=Pablo Picasso;
The Scream=Edvard Munch; The Night Watch=Rembrandt; Girl with a Pearl Earring=Johannes Vermeer;
The Kiss=Gustav Klimt; The Birth of Venus=Sandro Botticelli; The Last Supper=Leonardo da Vinci;
Water Lilies=Claude Monet
""")

INVENTORS = _pairs("""
the telephone=Alexander Graham Bell; the light bulb=Thomas Edison; dynamite=Alfred Nobel;
the printing press=Johannes Gutenberg; the radio=Guglielmo Marconi; the telescope=Hans Lippershey;
the lightning rod=Benjamin Franklin; the Web=Tim Berners-Lee; penicillin=Alexander Fleming;
gravity=Isaac Newton; relativity=Albert Einstein; evolution=Charles Darwin; radium=Marie Curie;
the steam engine=James Watt; the battery=Alessandro Volta; the diesel engine=Rudolf Diesel
""")

STATES = _pairs("""
Alabama=Montgomery; Alaska=Juneau; Arizona=Phoenix; Arkansas=Little Rock; California=Sacramento;
Colorado=Denver; Connecticut=Hartford; Delaware=Dover; Florida=Tallahassee; Hawaii=Honolulu;
Idaho=Boise; Illinois=Springfield; Indiana=Indianapolis; Iowa=Des Moines; Kansas=Topeka;
Kentucky=Frankfort; Louisiana=Baton Rouge; Maine=Augusta; Maryland=Annapolis;
Massachusetts=Boston; Michigan=Lansing; Minnesota=Saint Paul; Mississippi=Jackson;
Missouri=Jefferson City; Montana=Helena; Nebraska=Lincoln; Nevada=Carson City;
New Hampshire=Concord; New Jersey=Trenton; New Mexico=Santa Fe; New York=Albany;
North Carolina=Raleigh; North Dakota=Bismarck; Ohio=Columbus; Oklahoma=Oklahoma City;
Oregon=Salem; Pennsylvania=Harrisburg; Rhode Island=Providence; South Carolina=Columbia;
South Dakota=Pierre; Tennessee=Nashville; Texas=Austin; Utah=Salt Lake City; Vermont=Montpelier;
Virginia=Richmond; West Virginia=Charleston; Wisconsin=Madison; Wyoming=Cheyenne
""")

PLURALS = _pairs("""
mouse=mice; child=children; man=men; woman=women; foot=feet; tooth=teeth; goose=geese;
person=people; ox=oxen; leaf=leaves; knife=knives; wolf=wolves; wife=wives; life=lives;
city=cities; baby=babies; story=stories; box=boxes; bus=buses; church=churches; potato=potatoes;
tomato=tomatoes; hero=heroes; fish=fish; sheep=sheep; deer=deer; cat=cats; dog=dogs; book=books;
house=houses; tree=trees; car=cars; key=keys; dish=dishes; loaf=loaves
""")

PASTS = _pairs("""
go=went; see=saw; eat=ate; run=ran; write=wrote; take=took; give=gave; come=came; sing=sang;
swim=swam; drink=drank; speak=spoke; break=broke; drive=drove; fly=flew; know=knew; grow=grew;
throw=threw; buy=bought; bring=brought; think=thought; teach=taught; catch=caught; find=found;
make=made; say=said; have=had; do=did; sleep=slept; keep=kept; feel=felt; leave=left; lose=lost;
win=won; sit=sat; stand=stood; tell=told; walk=walked; talk=talked; play=played; look=looked;
begin=began; build=built; send=sent; meet=met; read=read; hear=heard
""")

# Facts that have a question of their own: `question=answer`, phrased by "trivia" as they stand.
TRIVIA = _pairs("""
How far is the Moon from Earth?=384,400 kilometers;
How far is the Sun from Earth?=150 million kilometers; What is the largest planet?=Jupiter;
What is the smallest planet?=Mercury; Which planet is the red planet?=Mars;
Which planet is closest to the Sun?=Mercury; Which planet has rings?=Saturn;
Which planet is the farthest from the Sun?=Neptune; Which planet do we live on?=Earth;
How many planets are in the solar system?=eight; What is the largest ocean?=the Pacific Ocean;
What is the highest mountain?=Mount Everest; What is the longest river?=the Nile;
What is the largest desert?=the Sahara; What is the largest animal?=the blue whale;
What is the fastest land animal?=the cheetah; What is the tallest animal?=the giraffe;
What is the largest country?=Russia; What is the smallest country?=Vatican City;
What is the largest continent?=Asia; What is the smallest continent?=Oceania;
What is the coldest continent?=Antarctica; How many continents are there?=seven;
How many days are in a week?=seven; How many months are in a year?=twelve;
How many days are in a year?=365; How many hours are in a day?=24;
How many minutes are in an hour?=60; How many seconds are in a minute?=60;
How many letters are in the alphabet?=26; How many sides does a triangle have?=three;
How many sides does a square have?=four; How many sides does a hexagon have?=six;
At what temperature does water boil?=100 degrees Celsius;
At what temperature does water freeze?=0 degrees Celsius;
What is the chemical formula of water?=H2O; What is the chemical formula of table salt?=NaCl;
What is the hardest natural material?=diamond; What do bees make?=honey; What do cows give?=milk;
What do plants need to grow?=light and water; What gas do we breathe?=oxygen;
What is the speed of light?=300,000 kilometers per second;
Who was the first person on the Moon?=Neil Armstrong;
When did the first person land on the Moon?=1969; When did World War II end?=1945;
When did World War I begin?=1914; When did the Berlin Wall fall?=1989;
When did the Titanic sink?=1912; When did the French Revolution begin?=1789;
When did Columbus reach America?=1492;
Who was the first president of the United States?=George Washington;
Where is the Eiffel Tower?=Paris; Where is Big Ben?=London; Where is the Colosseum?=Rome;
Where is the Statue of Liberty?=New York; Where is the Taj Mahal?=India;
Where are the pyramids of Giza?=Egypt; Where is the Great Wall?=China;
Where is Machu Picchu?=Peru; How many strings does a guitar have?=six;
How many keys does a piano have?=88; How many players are in a soccer team?=eleven;
How many wheels does a bicycle have?=two; How many bones does an adult human have?=206;
How many hearts does an octopus have?=three; What is frozen water called?=ice;
What is the largest organ of the body?=the skin; Which animal is the king of the jungle?=the lion;
What do pandas eat?=bamboo; What do caterpillars become?=butterflies;
How many cents are in a dollar?=100; How many grams are in a kilogram?=1,000;
How many meters are in a kilometer?=1,000; How many years are in a century?=100;
How many years are in a decade?=ten; What is the square root of nine?=three;
What is half of one hundred?=fifty; What is a dozen?=twelve; Which month has 28 days?=February;
What is the first month of the year?=January; What is the last month of the year?=December;
What is the first day of the week?=Monday; What is bread made of?=flour;
What is wine made of?=grapes; What is cheese made of?=milk; What is glass made of?=sand;
What is paper made of?=wood
""")

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split() + [
    f"{tens}{unit}"
    for tens in "twenty thirty forty fifty sixty seventy eighty ninety".split()
    for unit in [
        "",
        "-one",
        "-two",
        "-three",
        "-four",
        "-five",
        "-six",
        "-seven",
        "-eight",
        "-nine",
    ]
][1:]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)


def _cycle_facts(family: str, names: list[str], shift: int) -> list[Fact]:
    return [Fact(family, name, names[(i + shift) % len(names)]) for i, name in enumerate(names)]


def all_facts() -> dict[str, list[Fact]]:
    """Every fact but arithmetic, grouped by family. Same order on every run."""
    facts: list[Fact] = []
    for country in COUNTRIES:
        facts += [
            Fact("capital", country.name, country.capital),
            Fact("country_of", country.capital, country.name),
            Fact("continent", country.name, country.continent),
            Fact("language", country.name, country.language),
            Fact("currency", country.name, country.currency),
        ]
    tables = {
        "colour": COLOURS,
        "opposite": [*OPPOSITES, *_reversed_where_unambiguous(OPPOSITES)],
        "sound": SOUNDS,
        "young": YOUNG,
        "legs": LEGS,
        "symbol": SYMBOLS,
        "element": [(symbol, element) for element, symbol in SYMBOLS],
        "author": AUTHORS,
        "artist": ARTISTS,
        "inventor": INVENTORS,
        "state_capital": STATES,
        "plural": PLURALS,
        "past": PASTS,
        "trivia": TRIVIA,
        "number_word": [(str(number), word) for number, word in enumerate(NUMBER_WORDS)],
        "number_digits": [(word, str(number)) for number, word in enumerate(NUMBER_WORDS)],
    }
    for family, table in tables.items():
        facts += [Fact(family, subject, answer) for subject, answer in table]
    facts += _cycle_facts("next_day", DAYS, 1) + _cycle_facts("previous_day", DAYS, -1)
    facts += _cycle_facts("next_month", MONTHS, 1) + _cycle_facts("previous_month", MONTHS, -1)
    grouped: dict[str, list[Fact]] = {}
    for fact in facts:
        grouped.setdefault(fact.family, []).append(fact)
    return grouped


def arithmetic_facts() -> list[Fact]:
    """Every sum and difference up to 20 and every product up to 10 x 10."""
    sums = [Fact("arithmetic", f"{a} + {b}", str(a + b)) for a in range(21) for b in range(21)]
    differences = [
        Fact("arithmetic", f"{a} - {b}", str(a - b)) for a in range(21) for b in range(a + 1)
    ]
    products = [Fact("arithmetic", f"{a} * {b}", str(a * b)) for a in range(11) for b in range(11)]
    return sums + differences + products


def _reversed_where_unambiguous(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs turned round, leaving out words that already have an answer or would get two."""
    subjects = {subject for subject, _ in pairs}
    answers = [answer for _, answer in pairs]
    return [(b, a) for a, b in pairs if b not in subjects and answers.count(b) == 1]
