-- SQL macros for cleaning and exact arithmetic. The build embeds this file as `lake_macros_sql` (macros.h); every session of the engine runs it once.
-- Documented in docs/macros.md, whose examples are tests.
--
-- An argument can be a costly expression, and a macro repeats it wherever it names it. So each macro names its argument once and goes on inside a lambda over
-- a list of one: about 20 ns a row.

-- ---- text ----

-- Without blanks at both ends: what Unicode calls White_Space, and the byte order mark. The list is searched only when an end is no plain ASCII character.
CREATE OR REPLACE MACRO trim_blanks(x) AS
    list_transform([CAST(x AS VARCHAR)], lambda trim_v:
        CASE WHEN ord(trim_v) BETWEEN 33 AND 126 AND trim_v[-1] BETWEEN '!' AND '~' THEN trim_v
        ELSE trim(trim_v, E' \t\n\r' || chr(11) || chr(12) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197)
            || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288) || chr(65279)) END)[1];

CREATE OR REPLACE MACRO null_if_blank(x) AS
    list_transform([trim_blanks(x)], lambda blank_v: CASE WHEN blank_v NOT IN ('', 'null', 'NULL', 'NaN', '\N') THEN blank_v END)[1];

CREATE OR REPLACE MACRO category_text(x) AS lower(null_if_blank(x));

-- One line of composed characters: no control or zero-width characters, runs of blanks as one space.
CREATE OR REPLACE MACRO clean_text(x) AS
    list_transform([CAST(x AS VARCHAR)], lambda clean_v:
        CASE WHEN regexp_full_match(clean_v, '[!-~]+( [!-~]+)*') THEN null_if_blank(clean_v)
        ELSE null_if_blank(nfc_normalize(regexp_replace(regexp_replace(clean_v, '[\s\x0B\x{85}\p{Z}]+', ' ', 'g'), '[\p{Cc}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}\x{FEFF}\x{AD}]+', '', 'g')))
        END)[1];

CREATE OR REPLACE MACRO upper_tr(x) AS upper(translate(CAST(x AS VARCHAR), 'iı', 'İI'));
CREATE OR REPLACE MACRO lower_tr(x) AS lower(translate(CAST(x AS VARCHAR), 'Iİ', 'ıi'));

-- Words begin after a blank, a hyphen, a slash or an opening bracket; an apostrophe begins none (Ankara'da).
CREATE OR REPLACE MACRO title_case_tr(x) AS
    array_to_string(list_transform(regexp_extract_all(clean_text(x), '[\s/(\[-]+|[^\s/(\[-]+'), lambda title_w: upper_tr(title_w[1]) || lower_tr(title_w[2:])), '');

-- ---- numbers: never through a double ----

CREATE OR REPLACE MACRO parse_integer(x) AS
    list_transform([null_if_blank(x)], lambda int_v:
        CASE WHEN regexp_full_match(int_v, '[+-]?[0-9]+') THEN TRY_CAST(int_v AS BIGINT)
        WHEN regexp_full_match(int_v, '[+-]?[0-9]+\.0*') THEN TRY_CAST(split_part(int_v, '.', 1) AS BIGINT)
        WHEN regexp_full_match(int_v, '[+-]?[0-9]+(\.[0-9]{0,18})?[eE]\+?[0-9]{1,2}|[+-]?[0-9]+(\.[0-9]{0,9})?[eE]-[0-9]') AND TRY_CAST(int_v AS DECIMAL(38, 18)) % 1 = 0
            THEN TRY_CAST(TRY_CAST(int_v AS DECIMAL(38, 18)) AS BIGINT) END)[1];

CREATE OR REPLACE MACRO parse_decimal(x) AS
    list_transform([null_if_blank(x)], lambda dec_v:
        CASE WHEN regexp_full_match(dec_v, '[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?') THEN TRY_CAST(dec_v AS DECIMAL(18, 4)) END)[1];

-- A number as people write it: sign in front or behind, or brackets for a negative one; a currency beside it. `thousands` only between groups of three.
CREATE OR REPLACE MACRO cupel_number(x, thousands, point) AS
    list_transform(list_transform([null_if_blank(x)], lambda num_v:
        regexp_replace(regexp_replace(num_v, '(?i)\s|\x{A0}|\x{202F}|₺|€|\$|£|TL|TRY|EUR|USD|GBP', '', 'g'), '^\((.*)\)$|^(.*)-$', '-\1\2')), lambda num_w:
        CASE WHEN regexp_full_match(num_w, '[+-]?([0-9]+|[0-9]{1,3}(\' || thousands || '[0-9]{3})+)(\' || point || '[0-9]+)?')
            THEN TRY_CAST(replace(replace(num_w, thousands, ''), point, '.') AS DECIMAL(18, 4)) END)[1];

CREATE OR REPLACE MACRO parse_number_tr(x) AS cupel_number(x, '.', ',');
CREATE OR REPLACE MACRO parse_number_en(x) AS cupel_number(x, ',', '.');

CREATE OR REPLACE MACRO parse_boolean(x) AS
    list_transform([lower(null_if_blank(x))], lambda bool_v:
        CASE WHEN bool_v IN ('true', 't', 'yes', 'y', '1', '1.0', 'on', 'evet', 'doğru') THEN true
        WHEN bool_v IN ('false', 'f', 'no', 'n', '0', '0.0', 'off', 'hayır', 'hayir', 'yanlış') THEN false END)[1];

-- Half up, away from zero: 2.345 -> 2.35, -2.345 -> -2.35. `digits` is a constant of 0 to 9.
CREATE OR REPLACE MACRO half_up(x, digits) AS round(CAST(x AS DECIMAL(38, 9)), digits);

-- a / b in whole numbers: (2 |a| 10^digits + |b|) // (2 |b|), so that nothing is rounded before the end. In 64 bits where that is enough: DuckDB divides 128
-- bits in microseconds.
CREATE OR REPLACE MACRO cupel_divide_whole(n, d, digits) AS
    list_transform([{'n': n, 'd': d, 'f': [1, 10, 100, 1000, 10000, 100000, 1000000][digits + 1]}], lambda ratio_v:
        CASE WHEN ratio_v.d <> 0 THEN CASE WHEN abs(ratio_v.n) < 4000000000000 AND abs(ratio_v.d) < 1000000000000000000
            THEN CAST((2 * CAST(abs(ratio_v.n) AS BIGINT) * ratio_v.f + CAST(abs(ratio_v.d) AS BIGINT)) // (2 * CAST(abs(ratio_v.d) AS BIGINT)) AS HUGEINT)
            ELSE (2 * abs(ratio_v.n) * ratio_v.f + abs(ratio_v.d)) // (2 * abs(ratio_v.d)) END
            * CASE WHEN (ratio_v.n < 0) <> (ratio_v.d < 0) THEN -1 ELSE 1 END END)[1];

CREATE OR REPLACE MACRO cupel_divide(a, b, digits) AS
    CASE WHEN typeof(a) LIKE '%INT%' AND typeof(b) LIKE '%INT%' THEN cupel_divide_whole(CAST(a AS HUGEINT), CAST(b AS HUGEINT), digits)
    ELSE cupel_divide_whole(CAST(CAST(a AS DECIMAL(38, 9)) * 1000000000 AS HUGEINT), CAST(CAST(b AS DECIMAL(38, 9)) * 1000000000 AS HUGEINT), digits) END;

CREATE OR REPLACE MACRO safe_ratio
    (a, b) AS CAST(CAST(cupel_divide(a, b, 4) AS DECIMAL(30, 0)) * 0.0001 AS DECIMAL(18, 4)),
    (a, b, digits) AS round(CAST(cupel_divide(a, b, digits) AS DECIMAL(29, 0)) * [1, 0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001][digits + 1], digits);

CREATE OR REPLACE MACRO safe_percent(a, b) AS CAST(CAST(cupel_divide(100 * a, b, 2) AS DECIMAL(30, 0)) * 0.01 AS DECIMAL(18, 2));

-- What quantile_cont says, exactly: the value at (n - 1) * percent / 100 of the sorted list, interpolated linearly, over `divisor`.
CREATE OR REPLACE MACRO cupel_quantile(list_of, percent, divisor) AS
        list_transform(list_transform([list_sort(list_filter(list_of, lambda quant_x: quant_x IS NOT NULL))], lambda quant_l:
            {'l': quant_l, 'at': (len(quant_l) - 1) * percent // 100, 'rest': (len(quant_l) - 1) * percent % 100}), lambda quant_v:
            CASE WHEN len(quant_v.l) > 0 THEN safe_ratio(CAST(quant_v.l[quant_v.at + 1] AS DECIMAL(38, 9)) * (100 - quant_v.rest)
                + CAST(quant_v.l[least(quant_v.at + 2, len(quant_v.l))] AS DECIMAL(38, 9)) * quant_v.rest, 100 * divisor) END)[1];

CREATE OR REPLACE MACRO exact_quantile
    (list_of, percent) AS cupel_quantile(list_of, percent, 1),
    (list_of, percent, divisor) AS cupel_quantile(list_of, percent, divisor);

-- ---- times ----

-- Plain numbers are epochs, their unit told by the digits before the point: up to 11 seconds, 14 milliseconds, 17 microseconds, 20 nanoseconds. Finer than a
-- microsecond is cut off. Digits are moved as text: 128-bit decimals cost 20 us a row here, doubles are not exact.
CREATE OR REPLACE MACRO cupel_epoch(x) AS
    list_transform(list_transform([CAST(x AS VARCHAR)], lambda epoch_v:
        {'whole': split_part(epoch_v, '.', 1), 'rest': split_part(epoch_v, '.', 2), 'digits': length(ltrim(split_part(epoch_v, '.', 1), '+-0'))}), lambda epoch_w:
        make_timestamptz(TRY_CAST(CASE WHEN epoch_w.digits <= 11 THEN epoch_w.whole || left(rpad(epoch_w.rest, 6, '0'), 6)
            WHEN epoch_w.digits <= 14 THEN epoch_w.whole || left(rpad(epoch_w.rest, 3, '0'), 3) WHEN epoch_w.digits <= 17 THEN epoch_w.whole
            WHEN epoch_w.digits <= 20 THEN left(epoch_w.whole, length(epoch_w.whole) - 3) END AS BIGINT)))[1];

-- Epoch seconds and nothing else, as the retail feeds have them: no other unit, no text of a date. NULL beyond 11 digits before the point.
CREATE OR REPLACE MACRO parse_epoch(x) AS
    list_transform([null_if_blank(x)], lambda seconds_v:
        CASE WHEN regexp_full_match(seconds_v, '[0-9]{10}(\.[0-9]{0,6})?') THEN make_timestamptz(TRY_CAST(rpad(replace(seconds_v, '.', ''), 16, '0') AS BIGINT))
        WHEN regexp_full_match(seconds_v, '[+-]?([0-9]{1,11}(\.[0-9]*)?|\.[0-9]+)') THEN cupel_epoch(seconds_v)
        WHEN regexp_full_match(seconds_v, '[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]{1,2}') AND abs(TRY_CAST(seconds_v AS DECIMAL(38, 9))) < 100000000000
            THEN cupel_epoch(TRY_CAST(seconds_v AS DECIMAL(38, 9))) END)[1];

CREATE OR REPLACE MACRO cupel_local_time(x) AS
    try_strptime(x, ['%d.%m.%Y', '%d.%m.%Y %H:%M', '%d.%m.%Y %H:%M:%S', '%d.%m.%Y %H:%M:%S.%f', '%d/%m/%Y', '%d/%m/%Y %H:%M', '%d/%m/%Y %H:%M:%S', '%d/%m/%Y %H:%M:%S.%f',
        '%d-%m-%Y', '%d-%m-%Y %H:%M', '%d-%m-%Y %H:%M:%S', '%d-%m-%Y %H:%M:%S.%f', '%Y/%m/%d', '%Y/%m/%d %H:%M', '%Y/%m/%d %H:%M:%S', '%Y.%m.%d', '%Y.%m.%d %H:%M',
        '%Y.%m.%d %H:%M:%S', '%d %b %Y', '%d %b %Y %H:%M', '%d %b %Y %H:%M:%S', '%d %B %Y', '%d %B %Y %H:%M', '%d %B %Y %H:%M:%S', '%Y%m%dT%H%M', '%Y%m%dT%H%M%S']);

-- With a zone in the text that zone counts, without one `zone`.
CREATE OR REPLACE MACRO cupel_timestamp(x, zone) AS
    list_transform([null_if_blank(x)], lambda time_v:
        CASE WHEN regexp_full_match(time_v, '[0-9]{10}(\.[0-9]{0,6})?') THEN make_timestamptz(TRY_CAST(rpad(replace(time_v, '.', ''), 16, '0') AS BIGINT))
        WHEN regexp_full_match(time_v, '[+-]?[0-9]+(\.[0-9]*)?') THEN cupel_epoch(time_v)
        WHEN regexp_full_match(time_v, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)') THEN TRY_CAST(time_v AS TIMESTAMPTZ)
        WHEN regexp_full_match(time_v, '[+-]?[0-9]+(\.[0-9]*)?[eE]\+?[0-9]{1,2}') THEN cupel_epoch(TRY_CAST(time_v AS DECIMAL(38, 9)))
        WHEN regexp_full_match(time_v, '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)?') THEN timezone(zone, TRY_CAST(replace(time_v, ',', '.') AS TIMESTAMP))
        WHEN regexp_full_match(time_v, '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)? ?([Zz]|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)')
            THEN TRY_CAST(regexp_replace(replace(upper(time_v), ',', '.'), ' ?(Z|UTC|GMT)$', '+00') AS TIMESTAMPTZ)
        WHEN regexp_full_match(time_v, '.* ?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})') AND NOT regexp_full_match(time_v, '[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}')
            THEN try_strptime(regexp_replace(regexp_replace(time_v, ' ?(Z|UTC|GMT)$', ' +0000'), ' ?([+-][0-9]{2}):?([0-9]{2})$', ' \1\2'),
                ['%d/%b/%Y:%H:%M:%S %z', '%a, %d %b %Y %H:%M:%S %z', '%d %b %Y %H:%M:%S %z', '%Y%m%dT%H%M%S %z', '%d.%m.%Y %H:%M:%S %z', '%d/%m/%Y %H:%M:%S %z', '%Y/%m/%d %H:%M:%S %z'])
        ELSE timezone(zone, cupel_local_time(time_v)) END)[1];

CREATE OR REPLACE MACRO parse_timestamp_any
    (x) AS cupel_timestamp(x, 'UTC'),
    (x, zone) AS cupel_timestamp(x, zone);

-- The business day of the zone; with one argument of the project's, which sessions have as a variable; else the session's.
CREATE OR REPLACE MACRO cupel_day_in(ts, zone) AS
    CASE WHEN zone IN ('UTC', 'Etc/UTC', 'GMT', 'Z') THEN CAST(make_timestamp(epoch_us(CAST(ts AS TIMESTAMPTZ))) AS DATE)
    ELSE CAST(timezone(zone, CAST(ts AS TIMESTAMPTZ)) AS DATE) END;

CREATE OR REPLACE MACRO cupel_day
    (ts) AS cupel_day_in(ts, coalesce(CAST(getvariable('cupel_timezone') AS VARCHAR), current_setting('TimeZone'))),
    (ts, zone) AS cupel_day_in(ts, zone);

-- ---- JSON ----

-- `customer.id`, `items.0.sku` and `$.customer.id` are the same kind of path as json_decimal's.
CREATE OR REPLACE MACRO cupel_path(path) AS
    regexp_replace(CASE WHEN path LIKE '$%' THEN path ELSE '$.' || path END, '\.([0-9]+)', '[\1]', 'g');

-- The scalar at a path as text; NULL for a missing one, null, an object, an array, and for a payload that is not JSON.
CREATE OR REPLACE MACRO json_text(payload, path) AS
    list_transform([try(json_extract_string(CAST(payload AS VARCHAR), cupel_path(path)))], lambda json_v:
        CASE WHEN json_v[1] IN ('{', '[') AND json_type(CAST(payload AS VARCHAR), cupel_path(path)) IN ('OBJECT', 'ARRAY') THEN NULL ELSE json_v END)[1];

-- The elements of an array, an object as the only one, [] otherwise.
CREATE OR REPLACE MACRO json_items(payload, path) AS
    list_transform([try(json_extract(CAST(payload AS VARCHAR), cupel_path(path)))], lambda items_v:
        CASE left(CAST(items_v AS VARCHAR), 1) WHEN '[' THEN json_extract(items_v, '$[*]') WHEN '{' THEN [items_v] ELSE CAST([] AS JSON[]) END)[1];

-- FROM orders, unnest_json(payload, 'items') AS item
CREATE OR REPLACE MACRO unnest_json(payload, path) AS TABLE
    SELECT unnest(items.list_of) AS value, unnest(range(1, len(items.list_of) + 1)) AS position FROM (SELECT json_items(payload, path) AS list_of) AS items;

-- ---- people ----

CREATE OR REPLACE MACRO normalize_email(x) AS
    list_transform([lower(regexp_extract(clean_text(x), '^(?:[^<>]*<)?(?:(?i)mailto:)?([^<>]*)>?$', 1))], lambda mail_v:
        CASE WHEN regexp_full_match(mail_v, '[^\s@"(),:;<>\[\\\]]+@([\p{L}\p{N}-]+\.)+\p{L}[\p{L}\p{N}-]+')
            AND NOT regexp_matches(mail_v, '^\.|\.\.|\.@|@-|-\.|\.-|-$') AND strlen(mail_v) <= 254 AND strpos(mail_v, '@') <= 65 THEN mail_v END)[1];

CREATE OR REPLACE MACRO calling_code(country) AS
    CASE upper(country)
        WHEN 'TR' THEN '90' WHEN 'DE' THEN '49' WHEN 'AT' THEN '43' WHEN 'CH' THEN '41' WHEN 'FR' THEN '33' WHEN 'GB' THEN '44' WHEN 'IE' THEN '353' WHEN 'NL' THEN '31'
        WHEN 'BE' THEN '32' WHEN 'LU' THEN '352' WHEN 'ES' THEN '34' WHEN 'PT' THEN '351' WHEN 'IT' THEN '39' WHEN 'GR' THEN '30' WHEN 'CY' THEN '357' WHEN 'MT' THEN '356'
        WHEN 'DK' THEN '45' WHEN 'SE' THEN '46' WHEN 'NO' THEN '47' WHEN 'FI' THEN '358' WHEN 'IS' THEN '354' WHEN 'EE' THEN '372' WHEN 'LV' THEN '371' WHEN 'LT' THEN '370'
        WHEN 'PL' THEN '48' WHEN 'CZ' THEN '420' WHEN 'SK' THEN '421' WHEN 'HU' THEN '36' WHEN 'RO' THEN '40' WHEN 'BG' THEN '359' WHEN 'HR' THEN '385' WHEN 'SI' THEN '386'
        WHEN 'RS' THEN '381' WHEN 'BA' THEN '387' WHEN 'ME' THEN '382' WHEN 'MK' THEN '389' WHEN 'AL' THEN '355' WHEN 'UA' THEN '380' WHEN 'MD' THEN '373' WHEN 'BY' THEN '375'
        WHEN 'RU' THEN '7' WHEN 'KZ' THEN '7' WHEN 'GE' THEN '995' WHEN 'AM' THEN '374' WHEN 'AZ' THEN '994' WHEN 'IL' THEN '972' WHEN 'AE' THEN '971' WHEN 'SA' THEN '966'
        WHEN 'QA' THEN '974' WHEN 'KW' THEN '965' WHEN 'EG' THEN '20' WHEN 'MA' THEN '212' WHEN 'TN' THEN '216' WHEN 'ZA' THEN '27' WHEN 'NG' THEN '234' WHEN 'KE' THEN '254'
        WHEN 'IN' THEN '91' WHEN 'PK' THEN '92' WHEN 'CN' THEN '86' WHEN 'HK' THEN '852' WHEN 'TW' THEN '886' WHEN 'JP' THEN '81' WHEN 'KR' THEN '82' WHEN 'SG' THEN '65'
        WHEN 'MY' THEN '60' WHEN 'TH' THEN '66' WHEN 'VN' THEN '84' WHEN 'ID' THEN '62' WHEN 'PH' THEN '63' WHEN 'AU' THEN '61' WHEN 'NZ' THEN '64' WHEN 'US' THEN '1'
        WHEN 'CA' THEN '1' WHEN 'MX' THEN '52' WHEN 'BR' THEN '55' WHEN 'AR' THEN '54' WHEN 'CL' THEN '56' WHEN 'CO' THEN '57' WHEN 'PE' THEN '51' END;

-- What stands in front of a number inside its country and goes when the country's code is put there; '' where nothing does.
CREATE OR REPLACE MACRO trunk_prefix(country) AS
    CASE WHEN upper(country) IN ('US', 'CA') THEN '1' WHEN upper(country) IN ('RU', 'KZ', 'LT') THEN '8' WHEN upper(country) = 'HU' THEN '06'
    WHEN upper(country) IN ('ES', 'PT', 'IT', 'GR', 'CY', 'MT', 'DK', 'NO', 'IS', 'EE', 'LV', 'LU', 'PL', 'CZ', 'KW', 'QA', 'TN', 'HK', 'SG', 'MX', 'CL', 'CO') THEN '' ELSE '0' END;

-- E.164: + and 8 to 15 digits. A number without + or 00 belongs to `country`. NULL for what is no number.
CREATE OR REPLACE MACRO cupel_phone(x, country) AS
        list_transform(list_transform([regexp_replace(regexp_replace(clean_text(x), '(?i)^tel:', ''), '(?i)[ ,;]*(ext\.?|x|dahili|#) ?[0-9]{1,6}$', '')], lambda phone_v:
            CASE WHEN regexp_full_match(phone_v, '\+?[0-9 ().\-/]+')
                THEN regexp_replace(regexp_replace(regexp_replace(phone_v, '^((?:\+|00)[^(]*)\(0\)', '\1'), '[ ().\-/]', '', 'g'), '^00', '+') END), lambda phone_w:
            list_filter([CASE WHEN phone_w LIKE '+%' THEN phone_w
                WHEN trunk_prefix(country) <> '' AND phone_w LIKE trunk_prefix(country) || '%' THEN '+' || calling_code(country) || substr(phone_w, length(trunk_prefix(country)) + 1)
                ELSE '+' || calling_code(country) || phone_w END], lambda phone_x: regexp_full_match(phone_x, '\+[1-9][0-9]{7,14}'))[1])[1];

CREATE OR REPLACE MACRO normalize_phone
    (x) AS cupel_phone(x, 'TR'),
    (x, country) AS cupel_phone(x, country);

-- ---- functions that DuckDB cannot interrupt ----

-- They stand before DuckDB's own of the same name, which users cannot reach by a longer one (sql_check.c): a query over its time must end without taking the
-- engine with it. DuckDB looks for an interrupt between vectors of 2,048 rows, so the limits are such that a vector takes about two seconds: 4 ns a step of
-- levenshtein, 8 of damerau_levenshtein, 7 a byte of repeat, 16 a character of lpad.
CREATE OR REPLACE MACRO repeat(x, n) AS
    list_transform([{'x': x, 'n': n}], lambda repeat_v:
        CASE WHEN CAST(strlen(CAST(repeat_v.x AS VARCHAR)) AS HUGEINT) * repeat_v.n > 1048576 THEN error('repeat: the result may have 1 MiB')
        ELSE system.main.repeat(repeat_v.x, repeat_v.n) END)[1];

CREATE OR REPLACE MACRO lpad(x, n, pad) AS
    list_transform([n], lambda lpad_n: CASE WHEN lpad_n > 262144 THEN error('lpad: the result may have 262144 characters') ELSE system.main.lpad(x, lpad_n, pad) END)[1];

CREATE OR REPLACE MACRO rpad(x, n, pad) AS
    list_transform([n], lambda rpad_n: CASE WHEN rpad_n > 262144 THEN error('rpad: the result may have 262144 characters') ELSE system.main.rpad(x, rpad_n, pad) END)[1];

-- Both texts, or an error.
CREATE OR REPLACE MACRO cupel_texts_within(a, b, product, name) AS
    list_transform([{'a': CAST(a AS VARCHAR), 'b': CAST(b AS VARCHAR)}], lambda within_v:
        CASE WHEN CAST(strlen(within_v.a) AS HUGEINT) * strlen(within_v.b) > product THEN error(name || ': the lengths of both texts, multiplied, may be ' || product)
        ELSE within_v END);

CREATE OR REPLACE MACRO levenshtein(a, b) AS
    list_transform(cupel_texts_within(a, b, 250000, 'levenshtein'), lambda distance_v: system.main.levenshtein(distance_v.a, distance_v.b))[1];
CREATE OR REPLACE MACRO editdist3(a, b) AS levenshtein(a, b);
CREATE OR REPLACE MACRO damerau_levenshtein(a, b) AS
    list_transform(cupel_texts_within(a, b, 100000, 'damerau_levenshtein'), lambda distance_v: system.main.damerau_levenshtein(distance_v.a, distance_v.b))[1];
CREATE OR REPLACE MACRO jaro_similarity
    (a, b) AS list_transform(cupel_texts_within(a, b, 10000000, 'jaro_similarity'), lambda distance_v: system.main.jaro_similarity(distance_v.a, distance_v.b))[1],
    (a, b, least_score) AS list_transform(cupel_texts_within(a, b, 10000000, 'jaro_similarity'), lambda distance_v:
        system.main.jaro_similarity(distance_v.a, distance_v.b, least_score))[1];
CREATE OR REPLACE MACRO jaro_winkler_similarity
    (a, b) AS list_transform(cupel_texts_within(a, b, 10000000, 'jaro_winkler_similarity'), lambda distance_v:
        system.main.jaro_winkler_similarity(distance_v.a, distance_v.b))[1],
    (a, b, least_score) AS list_transform(cupel_texts_within(a, b, 10000000, 'jaro_winkler_similarity'), lambda distance_v:
        system.main.jaro_winkler_similarity(distance_v.a, distance_v.b, least_score))[1];
