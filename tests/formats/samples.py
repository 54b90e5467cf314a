"""Small files of our own making in every exchange format, and ways to spoil them.

Belongs here: one valid file per format with figures that agree, and edits by line and column.
Does not belong here: real files (see the `shared` fixture in `conftest.py`) and assertions.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date

import xlwt

from optrade.formats.archive import base_name, candidates
from optrade.formats.bhavcopy_legacy import COLUMNS as LEGACY_COLUMNS
from optrade.formats.bhavcopy_udiff import COLUMNS as UDIFF_COLUMNS
from optrade.formats.index_close import COLUMNS as INDEX_COLUMNS
from optrade.formats.market_activity import FUTURE_COLUMNS, OPTION_COLUMNS
from optrade.formats.participants import COLUMNS as PARTICIPANT_COLUMNS

UDIFF_DAY = date(2026, 1, 6)
LEGACY_DAY = date(2015, 11, 6)
DAY = UDIFF_DAY


def name_of(kind: str, day: date, position: int = 0) -> str:
    """The archive's own name of a file."""
    return base_name(candidates(kind, day)[position])


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]], end: str = "") -> str:
    """Header and rows with commas, each line closed by `end` and a newline."""
    lines = [columns, *rows]
    return "".join(",".join(str(cell) for cell in line) + end + "\n" for line in lines)


def edit(text: str, line: int, field: str, value: str, *, header: int = 1) -> str:
    """The text with one cell replaced; `line` and `header` are 1-based."""
    lines = text.split("\n")
    names = [name.strip() for name in lines[header - 1].split(",")]
    cells = lines[line - 1].split(",")
    cells[names.index(field)] = value
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines)


def swap_data(text: str, one: str, other: str, *, header: int = 1) -> str:
    """The text with two columns' data exchanged under an untouched header."""
    lines = text.split("\n")
    names = [name.strip() for name in lines[header - 1].split(",")]
    a, b = names.index(one), names.index(other)
    for at in range(header, len(lines)):
        cells = lines[at].split(",")
        if len(cells) > max(a, b):
            cells[a], cells[b] = cells[b], cells[a]
        lines[at] = ",".join(cells)
    return "\n".join(lines)


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """A zip of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def bhavcopy_zip(text: str, day: date) -> bytes:
    """A bhavcopy's text in the zip the archive would serve that day."""
    return zipped({name_of("fo_bhavcopy", day).removesuffix(".zip"): text})


# ------------------------------------------------------------------------------------- UDiFF

_UDIFF_DEFAULTS = {
    "TradDt": "2026-01-06", "BizDt": "2026-01-06", "Sgmt": "FO", "Src": "NSE",
    "XpryDt": "2026-01-13", "FininstrmActlXpryDt": "2026-01-13", "SsnId": "F1",
    "UndrlygPric": "26178.70", "TckrSymb": "NIFTY", "NewBrdLotQty": "65",
}  # fmt: skip


def udiff_row(**cells: object) -> list[str]:
    """One UDiFF row; a NIFTY contract of 13 January 2026 unless told otherwise."""
    known = {**_UDIFF_DEFAULTS, **{name: str(cell) for name, cell in cells.items()}}
    return [known.get(name, "") for name in UDIFF_COLUMNS]


def _udiff_contract(
    kind: str, number: int, strike: str, option: str, name: str, **cells: object
) -> list[str]:
    return udiff_row(
        FinInstrmTp=kind, FinInstrmId=number, StrkPric=strike, OptnTp=option, FinInstrmNm=name,
        **cells,
    )  # fmt: skip


UDIFF_ROWS = [
    _udiff_contract(
        "IDO", 46250, "27450.00", "PE", "NIFTY2611327450PE",
        OpnPric="1153.75", HghPric="1244.85", LwPric="1150.00", ClsPric="1242.05",
        LastPric="1240.00", PrvsClsgPric="1171.70", SttlmPric="1242.60", OpnIntrst=325,
        ChngInOpnIntrst=195, TtlTradgVol=6, TtlTrfVal="11167123.50", TtlNbOfTxsExctd=3,
    ),
    _udiff_contract(
        "IDO", 46251, "27450.00", "CE", "NIFTY2611327450CE",
        OpnPric="2.10", HghPric="3.00", LwPric="1.90", ClsPric="2.05", LastPric="2.00",
        PrvsClsgPric="4.00", SttlmPric="2.05", OpnIntrst=650000, ChngInOpnIntrst=-1300,
        TtlTradgVol=1000, TtlTrfVal="1784380000.00", TtlNbOfTxsExctd=400,
    ),
    _udiff_contract(
        "IDO", 46260, "31000.00", "CE", "NIFTY2611331000CE",
        OpnPric="0.00", HghPric="0.00", LwPric="0.00", ClsPric="0.05", LastPric="0.05",
        PrvsClsgPric="0.05", SttlmPric="0.00", OpnIntrst=0, ChngInOpnIntrst=0,
        TtlTradgVol=0, TtlTrfVal="0.00", TtlNbOfTxsExctd=0,
    ),
    _udiff_contract(
        "IDF", 35001, "", "", "NIFTY26JANFUT", XpryDt="2026-01-27",
        FininstrmActlXpryDt="2026-01-27", OpnPric="26250.00", HghPric="26300.00",
        LwPric="26100.00", ClsPric="26240.00", LastPric="26238.00", PrvsClsgPric="26300.00",
        SttlmPric="26240.00", OpnIntrst=65000, ChngInOpnIntrst=650, TtlTradgVol=10,
        TtlTrfVal="17049500.00", TtlNbOfTxsExctd=9,
    ),
    _udiff_contract(
        "STO", 99, "1400.00", "CE", "RELIANCE26JAN1400CE", TckrSymb="RELIANCE",
        XpryDt="2026-01-27", FininstrmActlXpryDt="2026-01-27", UndrlygPric="1410.00",
        NewBrdLotQty=500, OpnPric="20.00", HghPric="21.00", LwPric="19.00", ClsPric="20.50",
        LastPric="20.50", PrvsClsgPric="18.00", SttlmPric="20.50", OpnIntrst=5000,
        ChngInOpnIntrst=500, TtlTradgVol=4, TtlTrfVal="2840000.00", TtlNbOfTxsExctd=4,
    ),
]  # fmt: skip


def udiff(rows: Sequence[Sequence[str]] = UDIFF_ROWS) -> str:
    """A UDiFF bhavcopy of five contracts."""
    return csv_text(UDIFF_COLUMNS, rows)


# ------------------------------------------------------------------------------------ legacy

LEGACY_ROWS = [
    "FUTIDX,NIFTY,26-Nov-2015,0,XX,7980,8000,7950,7990,7990,100,598.12,750000,-7500,06-NOV-2015",
    "FUTIVX,INDIAVIX,10-Nov-2015,0,XX,0,0,0,1946.75,1755.25,0,0,0,0,06-NOV-2015",
    "FUTSTK,ACC,26-Nov-2015,0,XX,1380,1390,1370,1385,1385,20,103.50,75000,750,06-NOV-2015",
    "OPTIDX,NIFTY,26-Nov-2015,8000,CE,90,110,80,100,100,1000,6070,1500000,75000,06-NOV-2015",
    "OPTIDX,NIFTY,26-Nov-2015,8000,PE,85,95,70,80,80,500,3030.37,900000,7500,06-NOV-2015",
    "OPTIDX,NIFTY,31-Dec-2015,9500,PE,0,0,0,1400.5,1390.2,0,0,75,0,06-NOV-2015",
    "OPTSTK,ACC,26-Nov-2015,1400,CE,20,25,18,22,22,8,42.60,30000,375,06-NOV-2015",
]


def legacy(rows: Sequence[str] = LEGACY_ROWS, columns: Sequence[str] = LEGACY_COLUMNS) -> str:
    """An older bhavcopy of seven contracts, every line closed by a comma as published."""
    return csv_text(columns, [row.split(",") for row in rows], end=",")


# ------------------------------------------------------------------------------ participants

PEOPLE = {
    "Client": (50, 40, 300, 100, 700, 500, 800, 450, 90, 40, 60, 70),
    "DII": (20, 10, 80, 400, 5, 60, 1, 2, 3, 4, 10, 5),
    "FII": (30, 60, 500, 400, 300, 400, 250, 300, 20, 30, 40, 20),
    "Pro": (10, 0, 120, 100, 195, 240, 149, 448, 37, 76, 40, 55),
}
_PADDED = {
    "Future Stock Short": "Future Stock Short       ",
    "Total Long Contracts": "Total Long Contracts      ",
}
PARTICIPANT_HEADER = ",".join(_PADDED.get(name, name) for name in PARTICIPANT_COLUMNS)
TITLE = "Participant wise {} (no. of contracts) in Equity Derivatives as on {}"


def person_row(name: str, figures: Sequence[int]) -> str:
    """One row with its two totals."""
    longs = sum(figures[i] for i in (0, 2, 4, 5, 8, 9))
    shorts = sum(figures[i] for i in (1, 3, 6, 7, 10, 11))
    return ",".join([name, *map(str, figures), str(longs), str(shorts)])


def participants(
    people: Mapping[str, Sequence[int]] = PEOPLE,
    *,
    measure: str = "Open Interest",
    spelt: str = "Jan 06, 2026",
    quoted: bool = True,
) -> str:
    """A participant file with title, padded header, the rows and their TOTAL."""
    title = TITLE.format(measure, spelt)
    title = f'""{title}""' if quoted else title
    total = [sum(row[i] for row in people.values()) for i in range(12)]
    lines = [title + "," * 14, PARTICIPANT_HEADER]
    lines += [person_row(name, row) for name, row in people.items()]
    return "\n".join([*lines, person_row("TOTAL", total)]) + "\n"


# --------------------------------------------------------------------------------- fii_stats

FII_TITLE = "FII DERIVATIVES STATISTICS FOR 06-Jan-2026"
FII_HEADER = [
    ["", "BUY", "BUY", "SELL", "SELL", "OPEN INTEREST AT THE END OF THE DAY", ""],
    ["", *["No. of contracts", "Amt in Crores"] * 3],
]
FII_LINES = [
    ["INDEX FUTURES", "100", "18.02", "90", "16.20", "1000", "180.00"],
    ["BANKNIFTY FUTURES", "40", "7.01", "30", "5.20", "400", "70.00"],
    ["NIFTY FUTURES", "60", "11.00", "60", "11.00", "600", "110.00"],
    [""] * 7,
    ["INDEX OPTIONS", "5000", "900.50", "5100", "910.50", "9000", "1600.25"],
    ["NIFTY OPTIONS", "5000", "900.50", "5100", "910.50", "9000", "1600.25"],
    [""] * 7,
    ["STOCK FUTURES", "700", "49.10", "650", "45.00", "50000", "3500.75"],
    [""] * 7,
    ["STOCK OPTIONS", "300", "21.00", "310", "22.00", "8000", "560.40"],
]
FII_NOTES = [
    [""] * 7,
    ["Notes:", *[""] * 6],
    ["Both buy and sell positions have been considered", *[""] * 6],
]


def fii_grid(lines: Sequence[Sequence[object]] = FII_LINES) -> list[list[object]]:
    """The whole sheet as rows of seven cells."""
    return [list(row) for row in ([FII_TITLE, *[""] * 6], *FII_HEADER, *lines, *FII_NOTES)]


def fii_csv(grid: Sequence[Sequence[object]] | None = None) -> str:
    """The sheet saved as CSV."""
    return "".join(",".join(map(str, row)) + "\n" for row in (grid or fii_grid()))


def fii_xls(grid: Sequence[Sequence[object]] | None = None) -> bytes:
    """The sheet as a BIFF workbook; text stays text and numbers stay numbers."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("sheet1")
    for row, cells in enumerate(grid or fii_grid()):
        for column, cell in enumerate(cells):
            if cell != "":
                sheet.write(row, column, cell)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


# ------------------------------------------------------------------------------- index_close

INDEX_ROWS = [
    "Nifty 50,06-01-2026,26189.7,26273.95,26124.75,26178.7,-71.6,-.27,309511254,24938.07,22.6,3,1",
    "Nifty50 Dividend Points,06-01-2026,-,-,-,126.28,0.0,-,-,-,-,-,-",
    "Nifty Bank,06-01-2026,59950.1,60305.25,59801.4,60118.4,74.2,.12,130000000,6000.5,16,2.1,.9",
    "India VIX,06-01-2026,10.02,10.395,9.875,10.02,0.12,1.21,-,-,-,-,-",
]


def index_close(rows: Sequence[str] = INDEX_ROWS) -> str:
    """Closes of four indices."""
    return csv_text(INDEX_COLUMNS, [row.split(",") for row in rows])


# --------------------------------------------------------------------------- market activity

ACTIVITY_DAY = date(2021, 9, 30)
ACTIVITY_FUTURES = [
    (
        "FUTIDX    ,NIFTY     ,28/10/2021,00017600.00,00017700.00,00017500.00,00017650.00,"
        "000000000100000,      8825000.00,              500,              010,              009"
    ),
    (
        "FUTSTK    ,ACC       ,28/10/2021,00002400.00,00002450.00,00002390.00,00002440.00,"
        "000000000005000,      1215000.00,              500,              001,              001"
    ),
]
ACTIVITY_OPTIONS = [
    (
        "OPTIDX    ,NIFTY     ,07/10/2021,00017600.00,CE      ,00000120.00,00000130.00,00000110.00,"
        "00000125.00,000000000050000,              500,              010,              008,"
        "      8860000.00,         60000.00"
    ),
    (
        "OPTIDX    ,NIFTY     ,07/10/2021,00017600.00,PE      ,00000090.00,00000100.00,00000080.00,"
        "00000095.00,000000000040000,              250,              005,              005,"
        "      4422500.00,         22500.00"
    ),
    (
        "OPTSTK    ,ACC       ,28/10/2021,00002400.00,CE      ,00000050.00,00000050.00,00000050.00,"
        "00000050.00,000000000000500,              500,              001,              001,"
        "      1225000.00,         25000.00"
    ),
]
FOOTNOTE = "* - OPEN_INT as available in the trading system at the end of trading hours."


def activity_members(
    futures: Sequence[str] = ACTIVITY_FUTURES,
    options: Sequence[str] = ACTIVITY_OPTIONS,
    day: date = ACTIVITY_DAY,
) -> dict[str, str]:
    """The members of a market activity report that are read, and two that are not."""
    padded = [[f"{name:<11}" for name in names] for names in (FUTURE_COLUMNS, OPTION_COLUMNS)]
    texts = [
        "\n".join([",".join(names), *rows, FOOTNOTE]) + "\n"
        for names, rows in zip(padded, (futures, options), strict=True)
    ]
    return {
        f"fo_{day:%d%m%Y}.csv": "Total volume summary\n",
        f"fo{day:%d%m%Y}.csv": texts[0],
        "fohelp.txt": "help\n",
        f"op{day:%d%m%Y}.csv": texts[1],
    }
