#pragma once

/*
 * usage_forecast says how much will come and how much will go, day by day, if it goes on as it did
 * and policies stay what they are.
 *
 * What is there of some tier came within the time that its policy keeps it, or within the span that
 * growth is measured over, whichever is shorter: that is its rate. What comes at that rate stays
 * for as long as it is kept; what is there goes when its time has come.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

#define USAGE_DAY_NS   (UINT64_C(86400) * NS_PER_S)
#define USAGE_DAYS_MAX 3650

/* Some bytes of a window, as they lie. */
struct usage_growth {
	uint64_t bytes;
	uint64_t from_ns, to_ns;
	uint64_t keep_ns; /* after the end; UINT64_MAX: for ever */
	bool is_hidden;   /* it goes with its delay */
};

struct usage_forecast {
	uint64_t now_ns, span_ns;
	double per_day; /* of all */
	/* By whole days that it is kept; the last is for longer. */
	double rates[USAGE_DAYS_MAX + 1]; /* a day */
	double stays[USAGE_DAYS_MAX + 1]; /* of it, once that has been kept for as long as it is */
	double goes[USAGE_DAYS_MAX + 1];
};

struct usage_change {
	double comes; /* and is still there then */
	double goes;  /* of what is there now */
};

void usage_forecast_init(struct usage_forecast *forecast, uint64_t now_ns, uint64_t span_ns);
void usage_forecast_add(struct usage_forecast *forecast, const struct usage_growth *growth);
double usage_growth_per_day(const struct usage_growth *growth, uint64_t now_ns, uint64_t span_ns);

/* Within so many days; what comes brings `names` times its bytes. */
struct usage_change usage_forecast_change(
        const struct usage_forecast *forecast, double names, double days);

/* The first day on which there is no room for what came; 0: none within ten years. */
uint32_t usage_forecast_full(const struct usage_forecast *forecast, double names, uint64_t room);
