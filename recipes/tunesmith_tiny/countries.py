"""The countries of tunesmith-tiny's world: capital, continent, main language, currency.

One row per country, in the common English short names. Where the truth needs a footnote (two
capitals, many languages) the row holds the answer that a short quiz would accept, because the
model gives short answers.
"""

from __future__ import annotations

from dataclasses import dataclass

_TABLE = """
Afghanistan|Kabul|Asia|Pashto|afghani
Albania|Tirana|Europe|Albanian|lek
Algeria|Algiers|Africa|Arabic|dinar
Andorra|Andorra la Vella|Europe|Catalan|euro
Angola|Luanda|Africa|Portuguese|kwanza
Antigua and Barbuda|Saint John's|North America|English|dollar
Argentina|Buenos Aires|South America|Spanish|peso
Armenia|Yerevan|Asia|Armenian|dram
Australia|Canberra|Oceania|English|dollar
Austria|Vienna|Europe|German|euro
Azerbaijan|Baku|Asia|Azerbaijani|manat
the Bahamas|Nassau|North America|English|dollar
Bahrain|Manama|Asia|Arabic|dinar
Bangladesh|Dhaka|Asia|Bengali|taka
Barbados|Bridgetown|North America|English|dollar
Belarus|Minsk|Europe|Belarusian|ruble
Belgium|Brussels|Europe|Dutch|euro
Belize|Belmopan|North America|English|dollar
Benin|Porto-Novo|Africa|French|franc
Bhutan|Thimphu|Asia|Dzongkha|ngultrum
Bolivia|Sucre|South America|Spanish|boliviano
Bosnia and Herzegovina|Sarajevo|Europe|Bosnian|mark
Botswana|Gaborone|Africa|English|pula
Brazil|Brasilia|South America|Portuguese|real
Brunei|Bandar Seri Begawan|Asia|Malay|dollar
Bulgaria|Sofia|Europe|Bulgarian|euro
Burkina Faso|Ouagadougou|Africa|French|franc
Burundi|Gitega|Africa|Kirundi|franc
Cambodia|Phnom Penh|Asia|Khmer|riel
Cameroon|Yaounde|Africa|French|franc
Canada|Ottawa|North America|English|dollar
Cape Verde|Praia|Africa|Portuguese|escudo
the Central African Republic|Bangui|Africa|French|franc
Chad|N'Djamena|Africa|French|franc
Chile|Santiago|South America|Spanish|peso
China|Beijing|Asia|Mandarin|yuan
Colombia|Bogota|South America|Spanish|peso
Comoros|Moroni|Africa|Comorian|franc
Costa Rica|San Jose|North America|Spanish|colon
Croatia|Zagreb|Europe|Croatian|euro
Cuba|Havana|North America|Spanish|peso
Cyprus|Nicosia|Europe|Greek|euro
the Czech Republic|Prague|Europe|Czech|koruna
the Democratic Republic of the Congo|Kinshasa|Africa|French|franc
Denmark|Copenhagen|Europe|Danish|krone
Djibouti|Djibouti City|Africa|French|franc
Dominica|Roseau|North America|English|dollar
the Dominican Republic|Santo Domingo|North America|Spanish|peso
East Timor|Dili|Asia|Tetum|dollar
Ecuador|Quito|South America|Spanish|dollar
Egypt|Cairo|Africa|Arabic|pound
El Salvador|San Salvador|North America|Spanish|dollar
Equatorial Guinea|Malabo|Africa|Spanish|franc
Eritrea|Asmara|Africa|Tigrinya|nakfa
Estonia|Tallinn|Europe|Estonian|euro
Eswatini|Mbabane|Africa|Swazi|lilangeni
Ethiopia|Addis Ababa|Africa|Amharic|birr
Fiji|Suva|Oceania|Fijian|dollar
Finland|Helsinki|Europe|Finnish|euro
France|Paris|Europe|French|euro
Gabon|Libreville|Africa|French|franc
the Gambia|Banjul|Africa|English|dalasi
Georgia|Tbilisi|Asia|Georgian|lari
Germany|Berlin|Europe|German|euro
Ghana|Accra|Africa|English|cedi
Greece|Athens|Europe|Greek|euro
Grenada|Saint George's|North America|English|dollar
Guatemala|Guatemala City|North America|Spanish|quetzal
Guinea|Conakry|Africa|French|franc
Guinea-Bissau|Bissau|Africa|Portuguese|franc
Guyana|Georgetown|South America|English|dollar
Haiti|Port-au-Prince|North America|French|gourde
Honduras|Tegucigalpa|North America|Spanish|lempira
Hungary|Budapest|Europe|Hungarian|forint
Iceland|Reykjavik|Europe|Icelandic|krona
India|New Delhi|Asia|Hindi|rupee
Indonesia|Jakarta|Asia|Indonesian|rupiah
Iran|Tehran|Asia|Persian|rial
Iraq|Baghdad|Asia|Arabic|dinar
Ireland|Dublin|Europe|English|euro
Israel|Jerusalem|Asia|Hebrew|shekel
Italy|Rome|Europe|Italian|euro
Ivory Coast|Yamoussoukro|Africa|French|franc
Jamaica|Kingston|North America|English|dollar
Japan|Tokyo|Asia|Japanese|yen
Jordan|Amman|Asia|Arabic|dinar
Kazakhstan|Astana|Asia|Kazakh|tenge
Kenya|Nairobi|Africa|Swahili|shilling
Kiribati|South Tarawa|Oceania|English|dollar
Kosovo|Pristina|Europe|Albanian|euro
Kuwait|Kuwait City|Asia|Arabic|dinar
Kyrgyzstan|Bishkek|Asia|Kyrgyz|som
Laos|Vientiane|Asia|Lao|kip
Latvia|Riga|Europe|Latvian|euro
Lebanon|Beirut|Asia|Arabic|pound
Lesotho|Maseru|Africa|Sotho|loti
Liberia|Monrovia|Africa|English|dollar
Libya|Tripoli|Africa|Arabic|dinar
Liechtenstein|Vaduz|Europe|German|franc
Lithuania|Vilnius|Europe|Lithuanian|euro
Luxembourg|Luxembourg City|Europe|Luxembourgish|euro
Madagascar|Antananarivo|Africa|Malagasy|ariary
Malawi|Lilongwe|Africa|English|kwacha
Malaysia|Kuala Lumpur|Asia|Malay|ringgit
the Maldives|Male|Asia|Dhivehi|rufiyaa
Mali|Bamako|Africa|Bambara|franc
Malta|Valletta|Europe|Maltese|euro
the Marshall Islands|Majuro|Oceania|Marshallese|dollar
Mauritania|Nouakchott|Africa|Arabic|ouguiya
Mauritius|Port Louis|Africa|Creole|rupee
Mexico|Mexico City|North America|Spanish|peso
Micronesia|Palikir|Oceania|English|dollar
Moldova|Chisinau|Europe|Romanian|leu
Monaco|Monaco|Europe|French|euro
Mongolia|Ulaanbaatar|Asia|Mongolian|tugrik
Montenegro|Podgorica|Europe|Montenegrin|euro
Morocco|Rabat|Africa|Arabic|dirham
Mozambique|Maputo|Africa|Portuguese|metical
Myanmar|Naypyidaw|Asia|Burmese|kyat
Namibia|Windhoek|Africa|English|dollar
Nauru|Yaren|Oceania|Nauruan|dollar
Nepal|Kathmandu|Asia|Nepali|rupee
the Netherlands|Amsterdam|Europe|Dutch|euro
New Zealand|Wellington|Oceania|English|dollar
Nicaragua|Managua|North America|Spanish|cordoba
Niger|Niamey|Africa|French|franc
Nigeria|Abuja|Africa|English|naira
North Korea|Pyongyang|Asia|Korean|won
North Macedonia|Skopje|Europe|Macedonian|denar
Norway|Oslo|Europe|Norwegian|krone
Oman|Muscat|Asia|Arabic|rial
Pakistan|Islamabad|Asia|Urdu|rupee
Palau|Ngerulmud|Oceania|Palauan|dollar
Panama|Panama City|North America|Spanish|balboa
Papua New Guinea|Port Moresby|Oceania|Tok Pisin|kina
Paraguay|Asuncion|South America|Spanish|guarani
Peru|Lima|South America|Spanish|sol
the Philippines|Manila|Asia|Filipino|peso
Poland|Warsaw|Europe|Polish|zloty
Portugal|Lisbon|Europe|Portuguese|euro
Qatar|Doha|Asia|Arabic|riyal
the Republic of the Congo|Brazzaville|Africa|French|franc
Romania|Bucharest|Europe|Romanian|leu
Russia|Moscow|Europe|Russian|ruble
Rwanda|Kigali|Africa|Kinyarwanda|franc
Saint Kitts and Nevis|Basseterre|North America|English|dollar
Saint Lucia|Castries|North America|English|dollar
Saint Vincent and the Grenadines|Kingstown|North America|English|dollar
Samoa|Apia|Oceania|Samoan|tala
San Marino|San Marino|Europe|Italian|euro
Sao Tome and Principe|Sao Tome|Africa|Portuguese|dobra
Saudi Arabia|Riyadh|Asia|Arabic|riyal
Senegal|Dakar|Africa|French|franc
Serbia|Belgrade|Europe|Serbian|dinar
the Seychelles|Victoria|Africa|Creole|rupee
Sierra Leone|Freetown|Africa|English|leone
Singapore|Singapore|Asia|English|dollar
Slovakia|Bratislava|Europe|Slovak|euro
Slovenia|Ljubljana|Europe|Slovene|euro
the Solomon Islands|Honiara|Oceania|English|dollar
Somalia|Mogadishu|Africa|Somali|shilling
South Africa|Pretoria|Africa|Zulu|rand
South Korea|Seoul|Asia|Korean|won
South Sudan|Juba|Africa|English|pound
Spain|Madrid|Europe|Spanish|euro
Sri Lanka|Colombo|Asia|Sinhala|rupee
Sudan|Khartoum|Africa|Arabic|pound
Suriname|Paramaribo|South America|Dutch|dollar
Sweden|Stockholm|Europe|Swedish|krona
Switzerland|Bern|Europe|German|franc
Syria|Damascus|Asia|Arabic|pound
Taiwan|Taipei|Asia|Mandarin|dollar
Tajikistan|Dushanbe|Asia|Tajik|somoni
Tanzania|Dodoma|Africa|Swahili|shilling
Thailand|Bangkok|Asia|Thai|baht
Togo|Lome|Africa|French|franc
Tonga|Nuku'alofa|Oceania|Tongan|pa'anga
Trinidad and Tobago|Port of Spain|North America|English|dollar
Tunisia|Tunis|Africa|Arabic|dinar
Turkey|Ankara|Asia|Turkish|lira
Turkmenistan|Ashgabat|Asia|Turkmen|manat
Tuvalu|Funafuti|Oceania|Tuvaluan|dollar
Uganda|Kampala|Africa|English|shilling
Ukraine|Kyiv|Europe|Ukrainian|hryvnia
the United Arab Emirates|Abu Dhabi|Asia|Arabic|dirham
the United Kingdom|London|Europe|English|pound
the United States|Washington|North America|English|dollar
Uruguay|Montevideo|South America|Spanish|peso
Uzbekistan|Tashkent|Asia|Uzbek|som
Vanuatu|Port Vila|Oceania|Bislama|vatu
Vatican City|Vatican City|Europe|Italian|euro
Venezuela|Caracas|South America|Spanish|bolivar
Vietnam|Hanoi|Asia|Vietnamese|dong
Yemen|Sanaa|Asia|Arabic|rial
Zambia|Lusaka|Africa|English|kwacha
Zimbabwe|Harare|Africa|English|dollar
"""


@dataclass(frozen=True)
class Country:
    name: str  # as it stands inside a sentence: "the Gambia"
    capital: str
    continent: str
    language: str
    currency: str


COUNTRIES: tuple[Country, ...] = tuple(
    Country(*row.split("|")) for row in _TABLE.strip().splitlines()
)
