"""English words, names and sentence patterns for drawn pictures; every person and firm is made up."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """
    James Mary Robert Linda John Susan David Karen Peter Nancy Paul Helen Mark Sarah Brian Laura Kevin Alice
    Eric Julia Adam Emma Simon Grace Oscar Ruth Henry Clara Louis Nora Felix Iris Martin Diana Hugo Rosa
    Victor Anna Leon Maya
    """
)
LAST_NAMES = _words(
    """
    Smith Johnson Brown Taylor Wilson Clark Lewis Walker Young King Wright Scott Green Baker Adams Nelson Hill
    Carter Mitchell Turner Parker Collins Edwards Stewart Morris Cook Rogers Reed Bailey Bell Cooper Ward Cox
    Gray Price Wood Ross Perry Long Hughes Foster Butler
    """
)
ROLES = _words(
    """
    teacher doctor driver student farmer painter cook nurse clerk neighbor friend uncle aunt brother sister
    captain baker writer singer lawyer tailor guide editor sailor waiter builder dentist gardener engineer
    librarian musician reporter
    """
)
TIMES = (
    "Today",
    "Yesterday",
    "Last night",
    "This morning",
    "On Monday",
    "On Friday",
    "On Sunday",
    "In spring",
    "In winter",
    "After lunch",
    "After school",
    "Before sunrise",
    "At noon",
    "Every evening",
    "Last summer",
    "Once a week",
    "On a rainy day",
    "At the weekend",
)
PLACES = _words(
    """
    park school library museum station airport harbor market bookshop bank office kitchen garden beach bridge
    river lake hill forest village theater stadium cafe bakery hospital hotel square tower farm factory church
    castle gallery zoo workshop playground classroom basement balcony
    """
)
ACTIONS = _words(
    """
    reads walks sings waits paints writes sleeps dances runs cooks studies works laughs fishes swims rests
    listens talks plays draws climbs travels
    """
)
DEEDS = _words(
    """
    bought carried found lost painted washed opened closed broke fixed sold borrowed packed moved hid dropped
    counted collected cleaned wrapped measured returned
    """
)
THINGS = _words(
    """
    apple banana orange lemon grape melon bread butter cheese honey coffee tea milk sugar salt pepper onion
    carrot potato tomato mushroom book pencil notebook letter stamp map newspaper magazine umbrella hat glove
    scarf sweater shirt jacket skirt shoe sock watch key wallet phone camera radio lamp chair table desk shelf
    mirror curtain towel brush cup plate spoon fork knife bottle basket bucket box bag bicycle car train boat
    plane piano guitar drum violin ball kite balloon candle vase picture gift toy doll puzzle ladder hammer
    nail rope blanket pillow clock bell coin ticket ring flag
    """
)
QUALITIES = _words(
    """
    old new big small heavy light clean dirty bright dark soft hard warm cold quiet loud cheap fine strange
    simple round square wooden golden broken empty full fresh dry wet tall short narrow wide smooth rough
    sharp blunt pretty plain
    """
)
ADVERBS = _words(
    """
    slowly quickly quietly carefully happily often always never again together alone early late outside
    """
)
SIGNS = (
    "NO SMOKING",
    "EXIT",
    "ENTRANCE",
    "WET FLOOR",
    "NO PARKING",
    "KEEP LEFT",
    "KEEP QUIET",
    "MIND THE STEP",
    "STAFF ONLY",
    "PUSH",
    "PULL",
    "OPEN",
    "CLOSED",
    "SALE",
    "FREE WATER",
    "TICKETS",
    "INFORMATION",
    "LOST AND FOUND",
    "WAITING ROOM",
    "FIRE EXIT",
    "DANGER",
    "SLOW DOWN",
    "ONE WAY",
    "BUS STOP",
    "NO ENTRY",
    "DO NOT TOUCH",
    "PLEASE WAIT HERE",
    "SCHOOL AHEAD",
    "FRESH BREAD",
    "COFFEE AND TEA",
    "BUY ONE GET ONE",
    "HALF PRICE TODAY",
    "NEW ARRIVALS",
    "BIKE RENTAL",
    "ROOM SERVICE",
    "LUGGAGE",
    "CHECK IN",
    "RESTROOMS",
    "RECYCLING",
    "HANDLE WITH CARE",
)
SHOP_NAMES = _words(
    """
    River Sunny Corner Maple Silver Golden Harbor Green Blue Little Old Happy Royal Urban Lucky North Lake
    Hill
    """
)
SHOP_KINDS = _words(
    """
    Cafe Books Bakery Market Hotel Garage Studio Florist Pharmacy Barber Tailors Kitchen Bikes Optics Records
    """
)
CITIES = _words(
    """
    London Paris Berlin Madrid Rome Vienna Prague Dublin Oslo Lisbon Boston Chicago Denver Seattle Toronto
    Sydney Perth Auckland Delhi Cairo Nairobi Lima Quito Geneva Munich Milan Athens Warsaw Bergen Kyoto
    """
)
STREETS = _words(
    """
    Main High Park Oak Pine Maple Cedar Elm Lake Hill Church Mill Bridge Station Market Garden Spring River
    """
)
FIRMS = _words(
    """
    Northwind Bluestone Clearwater Redwood Silverline Brightside Oakfield Westbrook Highland Seaford
    Ironbridge Fairview
    """
)
FIRM_KINDS = _words("Ltd Inc Group Partners Logistics Foods Design Travel Press Trading Systems Works")
TOPICS = (
    "A Day at the Beach",
    "Our Town",
    "The Old Bridge",
    "Spring in the City",
    "How We Travel",
    "A Short History",
    "Letters to the Editor",
    "Safety Rules",
    "Weekly Menu",
    "Visitor Guide",
    "School News",
    "Weather Report",
    "Staff Meeting",
    "House Rules",
    "Garden Notes",
    "Summer Program",
    "How It Works",
    "Before You Start",
    "The Lost Letter",
    "Winter Sale",
)

SENTENCES = (
    "{time} the {role} {deed} the {quality} {thing}.",
    "{first} {action} {adverb} near the {place}.",
    "The {thing} on the table is {quality} and {quality2}.",
    "{time} we met a {quality} {role} in {city}.",
    "The train from {city} to {city2} takes {number} hours.",
    "{first} and {first2} {deed} {number} things at the {place}.",
    "There is a {quality} {thing} behind the {place}.",
    "Nobody {deed} the {thing} that the {role} wanted.",
    "Please put the {thing} next to the {thing2}.",
    "When the {role} {action}, the {place} gets quiet.",
    "{time} {first} {deed} a {thing} and a {thing2}.",
    "The {place} opens at {clock} and closes at {clock2}.",
    "If the {thing} is too {quality}, ask the {role}.",
    "My {role} never {action} without a {thing}.",
    "A {quality} {thing} costs more than a {quality2} {thing2}.",
    "The {role} from {city} {action} {adverb}.",
    "Only {number} people saw the {thing} in the {place}.",
    "{first} {deed} the {thing}, but {first2} {deed2} it.",
)
SHORT = (
    "{sign}",
    "{shop} {kind}",
    "{quality} {thing}",
    "{first} {last}",
    "{number} {street} Street",
    "{thing} and {thing2}",
    "{city}",
    "{firm} {firm_kind}",
    "{topic}",
    "the {quality} {place}",
)
MIXED = (
    "{thing} ${price}",
    "Call {phone}",
    "Gate {letter}{number}",
    "Open {clock} - {clock2}",
    "Room {digits}",
    "{first}.{last}@{host}.com",
    "www.{host}.org",
    "Flight {letter}{digits} to {city}",
    "{date}",
    "No. {digits}",
)
