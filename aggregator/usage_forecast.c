/*
 * Two histograms over days: what comes by how long it is kept, and what is there by when it goes.
 * Ten years of days are looked ahead, so a look costs as many steps.
 */

#include "aggregator/usage_forecast.h"

#include <string.h>

void usage_forecast_init(struct usage_forecast *forecast, uint64_t now_ns, uint64_t span_ns)
{
	memset(forecast, 0, sizeof(*forecast));
	forecast->now_ns = now_ns;
	forecast->span_ns = span_ns;
}

double usage_growth_per_day(const struct usage_growth *growth, uint64_t now_ns, uint64_t span_ns)
{
	uint64_t within_ns = growth->keep_ns < span_ns ? growth->keep_ns : span_ns;
	uint64_t since_ns = now_ns > within_ns ? now_ns - within_ns : 0;
	/* A window that ended before is not what came within. */
	if (growth->is_hidden || within_ns == 0 || growth->to_ns <= since_ns)
		return 0;
	return (double)growth->bytes * USAGE_DAY_NS / (double)within_ns;
}

static uint32_t forecast_day(uint64_t ns)
{
	uint64_t days = ns / USAGE_DAY_NS;
	return days < USAGE_DAYS_MAX ? (uint32_t)days : USAGE_DAYS_MAX;
}

void usage_forecast_add(struct usage_forecast *forecast, const struct usage_growth *growth)
{
	double per_day = usage_growth_per_day(growth, forecast->now_ns, forecast->span_ns);
	uint64_t left_ns = 0;
	forecast->per_day += per_day;
	forecast->rates[forecast_day(growth->keep_ns)] += per_day;
	forecast->stays[forecast_day(growth->keep_ns)] += per_day * (double)growth->keep_ns /
	                                                  USAGE_DAY_NS;
	if (!growth->is_hidden) {
		uint64_t expires_ns = growth->keep_ns > UINT64_MAX - growth->to_ns
		                              ? UINT64_MAX
		                              : growth->to_ns + growth->keep_ns;
		left_ns = expires_ns > forecast->now_ns ? expires_ns - forecast->now_ns : 0;
	}
	forecast->goes[forecast_day(left_ns)] += (double)growth->bytes;
}

struct usage_change usage_forecast_change(
        const struct usage_forecast *forecast, double names, double days)
{
	struct usage_change change = { 0 };
	for (uint32_t day = 0; day <= USAGE_DAYS_MAX; day++) {
		bool is_for_ever = day == USAGE_DAYS_MAX;
		bool is_steady = !is_for_ever && day < days;
		change.comes += names *
		                (is_steady ? forecast->stays[day] : forecast->rates[day] * days);
		if (is_steady)
			change.goes += forecast->goes[day];
	}
	return change;
}

uint32_t usage_forecast_full(const struct usage_forecast *forecast, double names, uint64_t room)
{
	for (uint32_t day = 1; day <= USAGE_DAYS_MAX; day++) {
		struct usage_change change = usage_forecast_change(forecast, names, day);
		if (change.comes - change.goes > (double)room)
			return day;
	}
	return 0;
}
