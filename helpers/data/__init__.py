"""Everything between a folder of pictures and a batch of tensors."""

from helpers.data.audit import Report, audit, near_copies
from helpers.data.augment import Augment, AugmentCrops
from helpers.data.classes import CLASSES, JOKER, RANKS, SUITS, rank_and_suit
from helpers.data.dataset import CardDataset, decode_pictures, list_pictures, read_picture
from helpers.data.drawing.render import DECK_VERSION, draw_face, render_card, render_deck
from helpers.data.drawn import DrawnCards, make_drawing_loader
from helpers.data.loaders import BatchLoader, make_loaders, make_worker_loaders
from helpers.data.preprocessing import Preprocessing
from helpers.data.seeding import mix_seed
from helpers.data.source import check_cards, data_folder, download_kaggle, find_cards
from helpers.data.splits import stratified_split
