/*
 * Text to values and back. All arithmetic is on integers, 128 bits wide in between, so that what
 * was typed is what is meant to the last nanosecond and byte, and too much is an error and never
 * wraps.
 */

#include "core/options_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/auto.h"
#include "core/clock.h"

struct option_unit {
	const char *name;
	uint64_t factor;
};

/* From great to small: "1h30m" must be written in this order. */
static const struct option_unit option_duration_units[] = {
	{ "w", 7 * 24 * 3600 * NS_PER_S },
	{ "d", 24 * 3600 * NS_PER_S },
	{ "h", 3600 * NS_PER_S },
	{ "m", 60 * NS_PER_S },
	{ "s", NS_PER_S },
	{ "ms", NS_PER_MS },
	{ "us", 1000 },
	{ "ns", 1 },
};

/* The first name of a factor is the one that is printed. */
static const struct option_unit option_bytes_units[] = {
	{ "TiB", UINT64_C(1) << 40 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "T", UINT64_C(1) << 40 },
	{ "G", UINT64_C(1) << 30 },
	{ "M", UINT64_C(1) << 20 },
	{ "K", UINT64_C(1) << 10 },
	{ "TB", UINT64_C(1000000000000) },
	{ "GB", UINT64_C(1000000000) },
	{ "MB", UINT64_C(1000000) },
	{ "kB", UINT64_C(1000) },
	{ "B", 1 },
};

/* A number with an optional fraction: whole + fraction / fraction_scale. */
struct option_decimal {
	uint64_t whole;
	uint64_t fraction;
	uint64_t fraction_scale;
};

#define OPTION_FRACTION_DIGITS_MAX 9

/* Reads digits[.digits] and moves `at` behind them. */
static int option_take_decimal(const char **at, struct option_decimal *ret_decimal)
{
	struct option_decimal decimal = { .fraction_scale = 1 };
	const char *text = *at;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		unsigned int digit = (unsigned int)(*text - '0');
		if (decimal.whole > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		decimal.whole = decimal.whole * 10 + digit;
	}
	if (*text == '.') {
		text++;
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		for (int n = 0; isdigit((unsigned char)*text); text++, n++) {
			if (n == OPTION_FRACTION_DIGITS_MAX)
				return -EINVAL;
			decimal.fraction = decimal.fraction * 10 + (unsigned int)(*text - '0');
			decimal.fraction_scale *= 10;
		}
	}
	*at = text;
	*ret_decimal = decimal;
	return 0;
}

static int option_scale(struct option_decimal decimal, uint64_t factor, uint64_t *ret_value)
{
	unsigned __int128 value = (unsigned __int128)decimal.whole * factor +
	                          (unsigned __int128)decimal.fraction * factor /
	                                  decimal.fraction_scale;
	if (value > UINT64_MAX)
		return -EINVAL;
	*ret_value = (uint64_t)value;
	return 0;
}

static const struct option_unit *option_unit_find(
        const struct option_unit *units, size_t units_count, const char *name, size_t length)
{
	for (size_t i = 0; i < units_count; i++) {
		if (strlen(units[i].name) == length &&
		        strncasecmp(units[i].name, name, length) == 0)
			return &units[i];
	}
	return NULL;
}

int option_parse_duration(const char *text, uint64_t *ret_ns)
{
	const struct option_unit *before = NULL;
	uint64_t sum_ns = 0;

	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	do {
		struct option_decimal decimal;
		uint64_t part_ns;
		int r = option_take_decimal(&text, &decimal);
		if (r < 0)
			return r;

		size_t length = strcspn(text, "0123456789.");
		const struct option_unit *unit = option_unit_find(
		        option_duration_units, COUNT_OF(option_duration_units), text, length);
		if (!unit || (before && unit <= before))
			return -EINVAL;
		if (option_scale(decimal, unit->factor, &part_ns) < 0 ||
		        part_ns > UINT64_MAX - sum_ns)
			return -EINVAL;
		sum_ns += part_ns;
		before = unit;
		text += length;
	} while (*text);

	*ret_ns = sum_ns;
	return 0;
}

int option_parse_bytes(const char *text, uint64_t *ret_bytes)
{
	static const struct option_unit one = { "", 1 };
	struct option_decimal decimal;
	int r = option_take_decimal(&text, &decimal);
	if (r < 0)
		return r;

	const struct option_unit *unit = *text ? option_unit_find(option_bytes_units,
	                                                 COUNT_OF(option_bytes_units), text,
	                                                 strlen(text))
	                                       : &one;
	if (!unit || (unit->factor == 1 && decimal.fraction_scale > 1))
		return -EINVAL;
	return option_scale(decimal, unit->factor, ret_bytes);
}

const char *option_format_duration(uint64_t ns, char text[static OPTION_NUMBER_BYTES_MAX])
{
	size_t count = 0;
	if (ns == 0)
		snprintf(text, OPTION_NUMBER_BYTES_MAX, "0s");
	/* Weeks are read but not written: 10d is plainer than 1w3d. */
	for (size_t i = 1; i < COUNT_OF(option_duration_units) && ns > 0; i++) {
		const struct option_unit *unit = &option_duration_units[i];
		if (ns < unit->factor)
			continue;
		count += (size_t)snprintf(text + count, OPTION_NUMBER_BYTES_MAX - count,
		        "%" PRIu64 "%s", ns / unit->factor, unit->name);
		ns %= unit->factor;
	}
	return text;
}

const char *option_format_bytes(uint64_t bytes, char text[static OPTION_NUMBER_BYTES_MAX])
{
	for (size_t i = 0; i < COUNT_OF(option_bytes_units); i++) {
		const struct option_unit *unit = &option_bytes_units[i];
		if (bytes > 0 && unit->factor > 1 && bytes % unit->factor == 0) {
			snprintf(text, OPTION_NUMBER_BYTES_MAX, "%" PRIu64 "%s",
			        bytes / unit->factor, unit->name);
			return text;
		}
	}
	snprintf(text, OPTION_NUMBER_BYTES_MAX, "%" PRIu64, bytes);
	return text;
}

/* Exactly `digits` digits, and moves `at` behind them. */
static int option_take_digits(const char **at, int digits, int *ret_value)
{
	int value = 0;
	for (int i = 0; i < digits; i++) {
		if (!isdigit((unsigned char)(*at)[i]))
			return -EINVAL;
		value = value * 10 + ((*at)[i] - '0');
	}
	*at += digits;
	*ret_value = value;
	return 0;
}

static bool option_take_character(const char **at, const char *among)
{
	if (!**at || !strchr(among, **at))
		return false;
	(*at)++;
	return true;
}

/* "Z", "+01:00" or "-08:00". */
static int option_take_zone(const char **at, int *ret_offset_s)
{
	if (option_take_character(at, "Zz")) {
		*ret_offset_s = 0;
		return 0;
	}
	int sign = **at == '-' ? -1 : 1;
	int hours, minutes;
	if (!option_take_character(at, "+-") || option_take_digits(at, 2, &hours) < 0 ||
	        !option_take_character(at, ":") || option_take_digits(at, 2, &minutes) < 0 ||
	        hours > 23 || minutes > 59)
		return -EINVAL;
	*ret_offset_s = sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int option_days_of_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

/* hour:minute[:second[.fraction]] and a zone, into `tm` and what it cannot hold. */
static int option_take_clock(
        const char **at, struct tm *tm, uint64_t *ret_fraction_ns, int *ret_offset_s)
{
	if (option_take_digits(at, 2, &tm->tm_hour) < 0 || !option_take_character(at, ":") ||
	        option_take_digits(at, 2, &tm->tm_min) < 0)
		return -EINVAL;

	uint64_t fraction_ns = 0;
	if (option_take_character(at, ":")) {
		const char *seconds = *at;
		struct option_decimal decimal;
		if (option_take_digits(at, 2, &tm->tm_sec) < 0 || isdigit((unsigned char)**at) ||
		        option_take_decimal(&seconds, &decimal) < 0)
			return -EINVAL;
		fraction_ns = decimal.fraction * (NS_PER_S / decimal.fraction_scale);
		*at = seconds;
	}
	/* 23:59:60 is a leap second: the same moment as the next midnight. */
	if (tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return -EINVAL;
	*ret_fraction_ns = fraction_ns;
	return option_take_zone(at, ret_offset_s);
}

/* RFC 3339, also without seconds, with a space for the T, or as a day alone (its start in UTC). */
static int option_parse_date(const char *text, uint64_t *ret_ns)
{
	struct tm tm = { 0 };
	int year, month, day, offset_s = 0;
	uint64_t fraction_ns = 0;

	if (option_take_digits(&text, 4, &year) < 0 || !option_take_character(&text, "-") ||
	        option_take_digits(&text, 2, &month) < 0 || !option_take_character(&text, "-") ||
	        option_take_digits(&text, 2, &day) < 0)
		return -EINVAL;
	if (month < 1 || month > 12 || day < 1 || day > option_days_of_month(year, month))
		return -EINVAL;
	if (option_take_character(&text, "Tt ") &&
	        option_take_clock(&text, &tm, &fraction_ns, &offset_s) < 0)
		return -EINVAL;
	if (*text)
		return -EINVAL;

	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	int64_t unix_s = (int64_t)timegm(&tm) - offset_s;
	if (unix_s < 0 || (uint64_t)unix_s > (UINT64_MAX - fraction_ns) / NS_PER_S)
		return -EINVAL;
	*ret_ns = (uint64_t)unix_s * NS_PER_S + fraction_ns;
	return 0;
}

/* "now", "now-1h30m", "now+5m". */
static int option_parse_relative(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	uint64_t distance_ns;
	if (!*text) {
		*ret_ns = now_ns;
		return 0;
	}
	if ((*text != '-' && *text != '+') || option_parse_duration(text + 1, &distance_ns) < 0)
		return -EINVAL;
	if (distance_ns > (*text == '-' ? now_ns : UINT64_MAX - now_ns))
		return -EINVAL;
	*ret_ns = *text == '-' ? now_ns - distance_ns : now_ns + distance_ns;
	return 0;
}

int option_parse_time(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	if (strncmp(text, "now", 3) == 0)
		return option_parse_relative(text + 3, now_ns, ret_ns);
	if (strlen(text) >= 10 && text[4] == '-')
		return option_parse_date(text, ret_ns);

	struct option_decimal decimal;
	if (option_take_decimal(&text, &decimal) < 0 || *text)
		return -EINVAL;
	return option_scale(decimal, NS_PER_S, ret_ns);
}

#define OPTION_TIME_REMEDY                                                                         \
	"write now-1h30m, 2026-11-25T10:00:00Z (or +01:00), 2026-11-25 or unix seconds"

int option_time_ns(const struct option_time *time, uint64_t now_ns, uint64_t fallback_ns,
        uint64_t *ret_ns, char *ret_error, size_t error_bytes)
{
	if (!time->text) {
		*ret_ns = fallback_ns;
		return 0;
	}
	int r = option_parse_time(time->text, now_ns, ret_ns);
	if (r < 0)
		snprintf(ret_error, error_bytes, "\"%.64s\" is not a time; %s", time->text,
		        OPTION_TIME_REMEDY);
	return r;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b: three rows of the usual table.
 */
#define OPTION_EDITS_LENGTH_MAX 63

static unsigned int option_edits(const char *a, const char *b)
{
	size_t a_length = strlen(a), b_length = strlen(b);
	unsigned int rows[3][OPTION_EDITS_LENGTH_MAX + 1];
	if (a_length > OPTION_EDITS_LENGTH_MAX || b_length > OPTION_EDITS_LENGTH_MAX)
		return UINT32_MAX;

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned int *row = rows[i % 3], *above = rows[(i - 1) % 3];
		const unsigned int *above_that = rows[(i + 1) % 3];
		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned int best = above[j - 1] + (a[i - 1] != b[j - 1]);
			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			               a[i - 2] == b[j - 1];
			if (swapped && above_that[j - 2] + 1 < best)
				best = above_that[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[a_length % 3][b_length];
}

const char *option_nearest(const char *text, const char *const *names)
{
	const char *nearest = NULL;
	size_t length = strlen(text);
	unsigned int edits_least = length < 3 ? 2 : length < 8 ? 3 : 4;

	for (; *names; names++) {
		/* A name cut short is as near as can be. */
		unsigned int edits = length >= 2 && strncmp(*names, text, length) == 0
		                             ? 1
		                             : option_edits(text, *names);
		if (edits < edits_least) {
			edits_least = edits;
			nearest = *names;
		}
	}
	return nearest;
}

const char *option_value_name(const struct option_spec *spec, char *text, size_t text_bytes)
{
	static const char *const names[] = {
		[OPTION_FLAG] = "",
		[OPTION_TEXT] = "TEXT",
		[OPTION_U32] = "N",
		[OPTION_U64] = "N",
		[OPTION_BYTES] = "BYTES",
		[OPTION_DURATION] = "DURATION",
		[OPTION_ENUM] = "NAME",
		[OPTION_LIST] = "TEXT",
		[OPTION_TIME] = "TIME",
		[OPTION_CUSTOM] = "",
	};
	if (spec->value_name || spec->kind != OPTION_ENUM)
		return spec->value_name ? spec->value_name : names[spec->kind];

	size_t count = 0;
	for (const char *const *choice = spec->choices; *choice && count < text_bytes; choice++)
		count += (size_t)snprintf(text + count, text_bytes - count, "%s%s",
		        choice == spec->choices ? "" : "|", *choice);
	return count < text_bytes ? text : names[OPTION_ENUM];
}

static const char *option_format_number(
        const struct option_spec *spec, uint64_t value, char text[static OPTION_NUMBER_BYTES_MAX])
{
	if (spec->kind == OPTION_DURATION)
		return option_format_duration(value, text);
	if (spec->kind == OPTION_BYTES)
		return option_format_bytes(value, text);
	snprintf(text, OPTION_NUMBER_BYTES_MAX, "%" PRIu64, value);
	return text;
}

static uint64_t option_max(const struct option_spec *spec)
{
	if (spec->max)
		return spec->max;
	return spec->kind == OPTION_U32 ? UINT32_MAX : UINT64_MAX;
}

const char *option_range(const struct option_spec *spec, char *text, size_t text_bytes)
{
	char min[OPTION_NUMBER_BYTES_MAX], max[OPTION_NUMBER_BYTES_MAX];
	option_format_number(spec, spec->min, min);
	option_format_number(spec, option_max(spec), max);
	if (spec->max)
		snprintf(text, text_bytes, "%s to %s", min, max);
	else if (spec->min)
		snprintf(text, text_bytes, "at least %s", min);
	else
		snprintf(text, text_bytes, "%s", "");
	return text;
}

static int option_value_number(const struct option_spec *spec, const char *text,
        union option_value *value, char *ret_error, size_t error_bytes)
{
	static const char *const wrong[] = {
		[OPTION_U32] = "is not a whole number; write digits alone",
		[OPTION_U64] = "is not a whole number; write digits alone",
		[OPTION_BYTES] = "is not a number of bytes; write 4096, 64MiB or 1GB",
		[OPTION_DURATION] = "is not a duration; write number and unit: 250ms, 1h30m, 7d",
	};
	struct option_decimal decimal;
	const char *end = text;
	uint64_t number = 0;
	int r;

	if (spec->kind == OPTION_DURATION)
		r = option_parse_duration(text, &number);
	else if (spec->kind == OPTION_BYTES)
		r = option_parse_bytes(text, &number);
	else {
		r = option_take_decimal(&end, &decimal);
		r = r == 0 && (*end || decimal.fraction_scale > 1) ? -EINVAL : r;
		number = r == 0 ? decimal.whole : 0;
	}
	/* Digits that no 64 bits can hold are too great a number rather than none. */
	bool digits = *text && strspn(text, "0123456789") == strlen(text);
	if (r < 0 && !digits) {
		snprintf(ret_error, error_bytes, "\"%.64s\" %s", text, wrong[spec->kind]);
		return -EINVAL;
	}
	if (r < 0 && spec->kind == OPTION_DURATION) {
		snprintf(ret_error, error_bytes, "\"%.64s\" has no unit; write for example %.20ss",
		        text, text);
		return -EINVAL;
	}
	if (r < 0 || number < spec->min || number > option_max(spec)) {
		char min[OPTION_NUMBER_BYTES_MAX], max[OPTION_NUMBER_BYTES_MAX];
		snprintf(ret_error, error_bytes, "%.64s is out of range; write %s to %s%s%s", text,
		        option_format_number(spec, spec->min, min),
		        option_format_number(spec, option_max(spec), max),
		        spec->range_why ? ": " : "", spec->range_why ? spec->range_why : "");
		return -EINVAL;
	}
	if (spec->kind == OPTION_U32)
		value->u32 = (uint32_t)number;
	else
		value->u64 = number;
	return 0;
}

static int option_value_flag(
        const char *text, union option_value *value, char *ret_error, size_t error_bytes)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			value->flag = i % 2;
			return 0;
		}
	}
	snprintf(ret_error, error_bytes, "\"%.64s\" is neither yes nor no; write true or false",
	        text);
	return -EINVAL;
}

static int option_value_enum(const struct option_spec *spec, const char *text,
        union option_value *value, char *ret_error, size_t error_bytes)
{
	for (uint32_t i = 0; spec->choices[i]; i++) {
		if (strcmp(text, spec->choices[i]) == 0) {
			value->u32 = i;
			return 0;
		}
	}

	int count = snprintf(ret_error, error_bytes, "\"%.64s\" is unknown; write ", text);
	for (uint32_t i = 0; spec->choices[i] && count >= 0 && (size_t)count < error_bytes; i++)
		count += snprintf(ret_error + count, error_bytes - (size_t)count, "%s%s",
		        i == 0                 ? ""
		        : spec->choices[i + 1] ? ", "
		                               : " or ",
		        spec->choices[i]);
	return -EINVAL;
}

static int option_value_append(union option_value *value, const char *text)
{
	autofree char *item = strdup(text);
	char **items = item ? reallocarray(value->list.items, value->list.count + 1, sizeof(char *))
	                    : NULL;
	if (!items)
		return -ENOMEM;
	value->list.items = items;
	value->list.items[value->list.count++] = TAKE(item);
	return 0;
}

int option_value_parse(const struct option_spec *spec, const char *text, union option_value *value,
        char *ret_error, size_t error_bytes)
{
	uint64_t ignored_ns;

	switch (spec->kind) {
	case OPTION_FLAG:
		return option_value_flag(text, value, ret_error, error_bytes);
	case OPTION_ENUM:
		return option_value_enum(spec, text, value, ret_error, error_bytes);
	case OPTION_LIST:
		return option_value_append(value, text);
	case OPTION_TIME:
		/* Which now is meant is known later; whether it is a time at all, at once. */
		if (option_parse_time(text, UINT64_MAX / 2, &ignored_ns) < 0) {
			snprintf(ret_error, error_bytes, "\"%.64s\" is not a time; %s", text,
			        OPTION_TIME_REMEDY);
			return -EINVAL;
		}
		value->time.text = strdup(text);
		return value->time.text ? 0 : -ENOMEM;
	case OPTION_TEXT:
		value->text = strdup(text);
		return value->text ? 0 : -ENOMEM;
	case OPTION_CUSTOM:
		snprintf(ret_error, error_bytes, "is set in the configuration file only");
		return -EINVAL;
	default:
		return option_value_number(spec, text, value, ret_error, error_bytes);
	}
}

void option_value_fini(const struct option_spec *spec, union option_value *value)
{
	if (spec->kind == OPTION_TEXT)
		free(value->text);
	else if (spec->kind == OPTION_TIME)
		free(value->time.text);
	for (uint32_t i = 0; spec->kind == OPTION_LIST && i < value->list.count; i++)
		free(value->list.items[i]);
	if (spec->kind == OPTION_LIST)
		free(value->list.items);
	memset(value, 0, sizeof(*value));
}

static size_t option_member_bytes(const struct option_spec *spec)
{
	switch (spec->kind) {
	case OPTION_FLAG:
		return sizeof(bool);
	case OPTION_U32:
	case OPTION_ENUM:
		return sizeof(uint32_t);
	case OPTION_U64:
	case OPTION_BYTES:
	case OPTION_DURATION:
		return sizeof(uint64_t);
	case OPTION_TEXT:
		return sizeof(char *);
	case OPTION_TIME:
		return sizeof(struct option_time);
	case OPTION_LIST:
		return sizeof(struct option_list);
	default:
		return 0;
	}
}

void option_member_clear(const struct option_spec *spec, void *target)
{
	memset((uint8_t *)target + spec->offset, 0, option_member_bytes(spec));
}

void option_value_store(const struct option_spec *spec, union option_value *value, void *target)
{
	size_t bytes = option_member_bytes(spec);
	uint8_t *member = (uint8_t *)target + spec->offset;
	union option_value before = { 0 };

	memcpy(&before, member, bytes);
	memcpy(member, value, bytes);
	memset(value, 0, sizeof(*value));
	option_value_fini(spec, &before);
}

bool option_member_is_given(const struct option_spec *spec, const void *target)
{
	static const union option_value nothing = { 0 };
	const uint8_t *member = (const uint8_t *)target + spec->offset;
	return memcmp(member, &nothing, option_member_bytes(spec)) != 0;
}
