#pragma once

/*
 * retention_cases are examples of what policies should do, to be kept beside them in a repository
 * and checked without a server:
 *
 *	policies_file: policies.yaml         # or policies: [...] here
 *	now: 2026-01-01T00:00:00Z            # optional
 *	floor: detail=1d                     # optional, as in the aggregator's configuration
 *	ceiling: 400d
 *	holds: [...]                         # optional
 *	cases:
 *	  - name: a week of detail for cart
 *	    labels: { service: cart, version: "1.8" }
 *	    type: cpu                        # which is the default
 *	    tenant: acme                     # "" is the default
 *	    tenant: acme                     # the default is ""
 *	    age: 8d                          # since the window ended
 *	    expect: 10m                      # the finest tier that is left, or gone
 *	    policy: cart                     # optional: whose detail tier it is; "none"
 *	    hold: incident-7                 # optional: what protects it; "none"
 *	    keep: { detail: 7d }             # optional: what the tiers are after all clamps
 *
 * Pure: the file that policies_file names is read by whoever reads this one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/retention.h"

#define RETENTION_CASES_MAX       1000
#define RETENTION_CASE_TEXT_BYTES 256

struct retention_cases;

/* -EINVAL with "FILE:LINE: case NAME: KEY: ...", -ENOMEM. */
int retention_cases_parse(const char *file, const char *text, size_t count,
        struct retention_cases **ret_cases, char *ret_error, size_t error_bytes);
void retention_cases_free(struct retention_cases *cases);
DEFINE_AUTO(retention_cases);

/* What policies_file says, or NULL; then the set is to be given. */
const char *retention_cases_policies_file(const struct retention_cases *cases);
/* Takes the set over. */
void retention_cases_set(struct retention_cases *cases, struct retention_set *set);

uint32_t retention_cases_count(const struct retention_cases *cases);

/* What came of one case. Texts are the cases' own. */
struct retention_case_result {
	const char *name;
	const char *series; /* as a selector: cpu{service="cart"} */
	uint64_t age_ns;
	const char *expected; /* tier, or "gone" */
	const char *got;
	const char *policy; /* whose the detail tier is; "none" */
	bool passed;
	/* Why not, as a sentence; "" when it passed. */
	char why[RETENTION_CASE_TEXT_BYTES];
};

/* -ENOMEM, -EINVAL: labels that are no series. */
int retention_cases_run(const struct retention_cases *cases, uint32_t index,
        struct retention_case_result *ret_result);
