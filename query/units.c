/* Three digits that mean something, a blank, a unit. */

#include "query/units.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"

static void units_digits(struct units_text *to, double value, const char *unit)
{
	int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
	snprintf(to->text, sizeof(to->text), "%.*f%s%s", digits, value, *unit ? " " : "", unit);
}

struct units_text units_count(uint64_t value)
{
	struct units_text to = { "" };
	char plain[24];
	int count = snprintf(plain, sizeof(plain), "%llu", (unsigned long long)value);
	size_t at = 0;
	for (int i = 0; i < count; i++) {
		if (i > 0 && (count - i) % 3 == 0)
			to.text[at++] = ' ';
		to.text[at++] = plain[i];
	}
	to.text[at] = '\0';
	return to;
}

struct units_text units_duration(uint64_t ns)
{
	struct units_text to = { "" };
	double value = (double)ns;
	if (ns == 0)
		snprintf(to.text, sizeof(to.text), "0 s");
	else if (value < 1e3)
		snprintf(to.text, sizeof(to.text), "%u ns", (unsigned int)ns);
	else if (value < 1e6)
		units_digits(&to, value / 1e3, "us");
	else if (value < 1e9)
		units_digits(&to, value / 1e6, "ms");
	else if (value < 600e9)
		units_digits(&to, value / 1e9, "s");
	else if (value < 7200e9)
		units_digits(&to, value / 60e9, "min");
	else
		units_digits(&to, value / 3600e9, "h");
	return to;
}

struct units_text units_bytes(uint64_t bytes)
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	struct units_text to = { "" };
	if (bytes < 1024) {
		snprintf(to.text, sizeof(to.text), "%u B", (unsigned int)bytes);
		return to;
	}

	double value = (double)bytes / 1024;
	unsigned int i = 0;
	for (; value >= 1024; i++)
		value /= 1024;
	units_digits(&to, value, names[i]);
	return to;
}

struct units_text units_value(const char *unit, uint64_t value)
{
	if (strcmp(unit, "nanoseconds") == 0)
		return units_duration(value);
	if (strcmp(unit, "bytes") == 0)
		return units_bytes(value);
	return units_count(value);
}

struct units_text units_percent(uint64_t part, uint64_t whole)
{
	struct units_text to = { "-" };
	if (whole > 0)
		snprintf(to.text, sizeof(to.text), "%.2f %%", 100.0 * (double)part / (double)whole);
	return to;
}

struct units_text units_cores(uint64_t cpu_ns, uint64_t wall_ns)
{
	struct units_text to = { "-" };
	if (wall_ns > 0)
		units_digits(&to, (double)cpu_ns / (double)wall_ns, "");
	return to;
}

struct units_text units_millicores(uint64_t cpu_ns, uint64_t wall_ns)
{
	struct units_text to = { "-" };
	if (wall_ns > 0)
		units_digits(&to, 1e3 * (double)cpu_ns / (double)wall_ns, "");
	return to;
}

struct units_text units_change(double ratio)
{
	struct units_text to = { "-" };
	if (ratio > 1000)
		snprintf(to.text, sizeof(to.text), ">1000x");
	else if (ratio >= 100)
		snprintf(to.text, sizeof(to.text), "%.0fx", ratio);
	else if (ratio >= 0)
		snprintf(to.text, sizeof(to.text), "%+.1f %%", 100 * (ratio - 1));
	return to;
}

struct units_text units_time(uint64_t unix_ns)
{
	struct units_text to = { "-" };
	time_t seconds = (time_t)(unix_ns / NS_PER_S);
	struct tm utc;
	if (gmtime_r(&seconds, &utc))
		(void)strftime(to.text, sizeof(to.text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	return to;
}
