/* retention: how long what is kept. The noun; each verb is in the file called after it. */

#include <stddef.h>

#include "query/cmd_list.h"
#include "query/retention_verbs.h"

struct retention_args {
	struct shared_args shared;
};

static const struct option_spec retention_options[] = {
	SHARED_OPTIONS(retention_args),
	{ 0 },
};

static const struct option_table retention_table = {
	.program = "profleet retention",
	.summary = "say how long what is kept",
	.usage = "VERB [options]",
	.description =
	        "Policies say how long the store keeps what of which series. A policy is a "
	        "selector, a priority, and a duration for each tier, counted from the end of a "
	        "window: detail (rows with all their labels), and sums of ten minutes (10m), an "
	        "hour (1h) and a day (1d), which know version, region and 16 buckets of instances, "
	        "so that comparisons over old data still know their spread.\n\n"
	        "\tpolicies:\n"
	        "\t  - name: cart\n"
	        "\t    selector: cpu{service=\"cart\",version=~\"1\\\\..*\"}\n"
	        "\t    priority: 10\n"
	        "\t    tiers: { detail: 7d, 10m: 30d, 1h: 400d, 1d: forever }\n"
	        "\t    reason: the team compares releases for a month\n\n"
	        "A matcher of tenant is about the tenant, which is no label: "
	        "{tenant=\"acme\",service=\"cart\"}.\n\n"
	        "Where several match, a hold wins over every policy, then the highest priority, "
	        "and among equals the longest, tier by tier. What no policy matches, and a tier "
	        "that a policy does not name, is kept for ever. 0 keeps nothing of a tier; a "
	        "coarser tier lasts at least as long as a finer one.\n\n"
	        "Nothing is removed at once: what expired is hidden first, and erased after a "
	        "delay in which `profleet retention undo` brings it back.",
	.examples = "profleet retention test -f policies_test.yaml\n"
	            "profleet retention plan -f policies.yaml\n"
	            "profleet retention set -f policies.yaml --yes\n"
	            "profleet retention status\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = retention_options,
	.args_max = UINT32_MAX,
	.verbs = true,
};

static const struct command *const retention_verbs[] = {
	&cmd_retention_list,
	&cmd_retention_get,
	&cmd_retention_set,
	&cmd_retention_delete,
	&cmd_retention_explain,
	&cmd_retention_plan,
	&cmd_retention_apply,
	&cmd_retention_status,
	&cmd_retention_undo,
	&cmd_retention_forget,
	&cmd_retention_test,
	NULL,
};

const struct command cmd_retention = {
	.name = "retention",
	.table = &retention_table,
	.args_size = sizeof(struct retention_args),
	.verbs = retention_verbs,
};
