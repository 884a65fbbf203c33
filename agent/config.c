/*
 * The table, and the one key that is more than a value: `relabel`, a list of rules.
 *
 *	relabel:
 *	  - source: comm
 *	    match: "(web|api)-.*"
 *	    target: service
 *	    value: "\\1"
 *	  - { source: container_runtime, action: drop }
 */

#include "agent/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/net.h"
#include "core/service.h"

#define CONFIG_RELABEL_MAX 256
#define EXIT_USAGE         2

static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const events[] = { "cpu-clock", "cycles", NULL };
static const char *const tiers[] = { "auto", "bpf", "perf", NULL };

static void relabel_table_free(struct relabel_table *table)
{
	for (uint32_t at = 0; at < table->count; at++) {
		struct relabel_rule *rule = &table->rules[at];
		free(rule->source);
		free(rule->match);
		free(rule->target);
		free(rule->value);
	}
	free(table->rules);
	*table = (struct relabel_table){ 0 };
}

/* Where a key of a rule goes. */
static char **relabel_member(struct relabel_rule *rule, char **action, const char *key)
{
	if (strcmp(key, "source") == 0)
		return &rule->source;
	if (strcmp(key, "match") == 0)
		return &rule->match;
	if (strcmp(key, "target") == 0)
		return &rule->target;
	if (strcmp(key, "value") == 0)
		return &rule->value;
	return strcmp(key, "action") == 0 ? action : NULL;
}

/* A key that was not given is the text that changes nothing. */
static int relabel_default(char **member, const char *text)
{
	if (!*member)
		*member = strdup(text);
	return *member ? 0 : -ENOMEM;
}

static int relabel_complete(
        struct relabel_rule *rule, const char *action, char *ret_error, size_t error_bytes)
{
	bool drop = action && strcmp(action, "drop") == 0;

	if (action && !drop && strcmp(action, "set") != 0) {
		snprintf(ret_error, error_bytes, "action '%s'; write set or drop", action);
		return -EINVAL;
	}
	if (!rule->source || !rule->source[0]) {
		snprintf(ret_error, error_bytes,
		        "a rule lacks source; write the label whose value is matched");
		return -EINVAL;
	}
	if (!drop && (!rule->target || !rule->target[0])) {
		snprintf(ret_error, error_bytes,
		        "a rule lacks target; write the label to set, or action: drop");
		return -EINVAL;
	}
	if (drop && rule->target) {
		free(rule->target);
		rule->target = NULL;
	}
	int result = relabel_default(&rule->match, ".*");
	if (result == 0)
		result = relabel_default(&rule->target, "");
	if (result == 0)
		result = relabel_default(&rule->value, "");
	return result < 0 ? result : labeler_check_rule(rule, ret_error, error_bytes);
}

static int relabel_read_rule(const struct config_node *node, struct relabel_rule *rule,
        char *ret_error, size_t error_bytes)
{
	autofree char *action = NULL;

	if (config_node_kind(node) != CONFIG_MAP) {
		snprintf(ret_error, error_bytes,
		        "a rule is no map; write source, match, target and value");
		return -EINVAL;
	}
	for (uint32_t at = 0; at < config_node_count(node); at++) {
		const char *key = config_node_key(node, at);
		const char *text = config_node_text(config_node_item(node, at));
		char **member = relabel_member(rule, &action, key);

		if (member && config_node_kind(config_node_item(node, at)) == CONFIG_NULL) {
			snprintf(ret_error, error_bytes,
			        "'%s' has no value (nothing, ~ and null are none to YAML); write "
			        "one, or take the line out",
			        key);
			return -EINVAL;
		}
		if (!member || !text) {
			snprintf(ret_error, error_bytes,
			        "'%s'; a rule has source, match, target, value and action", key);
			return -EINVAL;
		}
		*member = strdup(text);
		if (!*member)
			return -ENOMEM;
	}
	return relabel_complete(rule, action, ret_error, error_bytes);
}

static int relabel_read(
        const struct config_node *node, void *member, char *ret_error, size_t error_bytes)
{
	struct relabel_table table = { 0 };
	uint32_t count = config_node_kind(node) == CONFIG_LIST ? config_node_count(node) : 0;
	int result = 0;
	char error[384] = "";

	if (config_node_kind(node) != CONFIG_LIST || count > CONFIG_RELABEL_MAX) {
		snprintf(ret_error, error_bytes, "write a list of at most %d rules",
		        CONFIG_RELABEL_MAX);
		return -EINVAL;
	}
	table.rules = calloc(count ? count : 1, sizeof(*table.rules));
	if (!table.rules)
		return -ENOMEM;
	for (; result == 0 && table.count < count; table.count++)
		result = relabel_read_rule(config_node_item(node, table.count),
		        &table.rules[table.count], error, sizeof(error));
	if (result < 0) {
		/* The line of the list is named already: that of the rule is of more use. */
		if (error[0])
			snprintf(ret_error, error_bytes, "line %u, rule %u: %s",
			        config_node_line(config_node_item(node, table.count - 1)),
			        table.count, error);
		relabel_table_free(&table);
		return result;
	}
	relabel_table_free(member);
	*(struct relabel_table *)member = table;
	return 0;
}

static int label_check(
        const struct config_node *node, void *member, char *ret_error, size_t error_bytes)
{
	(void)node;
	return labeler_check_pairs(member, ret_error, error_bytes);
}

#define AT(member) offsetof(struct agent_config, member)

static const struct option_spec agent_options[] = {
	{ .name = "aggregator",
	        .kind = OPTION_TEXT,
	        .offset = AT(aggregator),
	        .fallback = "tcp://127.0.0.1:7470",
	        .value_name = "ADDRESS",
	        .help = "Where batches are sent. While nobody answers there they are kept in the "
	                "spool." },
	{ .name = "hz",
	        .kind = OPTION_U32,
	        .offset = AT(hz),
	        .fallback = "49",
	        .min = 1,
	        .max = 10000,
	        .value_name = "HZ",
	        .help = "Samples per second of every busy CPU. Lowered to "
	                "kernel.perf_event_max_sample_rate where that is less." },
	{ .name = "event",
	        .kind = OPTION_ENUM,
	        .offset = AT(event),
	        .fallback = "cpu-clock",
	        .choices = events,
	        .value_name = "EVENT",
	        .help = "What a sample is taken of: cpu-clock is time on a CPU; cycles is the "
	                "hardware counter, which virtual machines often lack." },
	{ .name = "tier",
	        .kind = OPTION_ENUM,
	        .offset = AT(tier),
	        .fallback = "auto",
	        .choices = tiers,
	        .value_name = "TIER",
	        .help = "bpf needs CAP_BPF and CAP_PERFMON, perf only CAP_PERFMON but sees less of "
	                "short-lived processes. auto takes the first that is granted and says what "
	                "is missing." },
	{ .name = "interval",
	        .kind = OPTION_DURATION,
	        .offset = AT(interval_ns),
	        .fallback = "10s",
	        .min = 100000000,
	        .max = UINT64_C(600000000000),
	        .value_name = "TIME",
	        .help = "How long a batch is; what it holds can be asked for about a second "
	                "later." },
	{ .name = "label",
	        .kind = OPTION_LIST,
	        .offset = AT(labels),
	        .value_name = "NAME=VALUE",
	        .reload = true,
	        .parse_yaml = label_check,
	        .help = "Label of every series of this host. May be given several times." },
	{ .name = "host",
	        .kind = OPTION_TEXT,
	        .offset = AT(host),
	        .value_name = "NAME",
	        .help = "Value of the label host. Without it the machine's own name." },
	{ .name = "tenant",
	        .kind = OPTION_TEXT,
	        .offset = AT(tenant),
	        .fallback = "",
	        .value_name = "NAME",
	        .help = "Whose profiles these are, where an aggregator serves several." },
	{ .name = "spool",
	        .kind = OPTION_TEXT,
	        .offset = AT(spool),
	        .value_name = "DIR",
	        .help = "Folder that keeps what no aggregator has yet, over restarts. Without it "
	                "that is kept in memory." },
	{ .name = "spool-bytes",
	        .kind = OPTION_BYTES,
	        .offset = AT(spool_bytes),
	        .fallback = "64MiB",
	        .min = 1u << 16,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .help = "Size of the spool. When it is full the oldest intervals are merged, and "
	                "only then dropped, and counted." },
	{ .name = "spool-memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(spool_memory_bytes),
	        .fallback = "32MiB",
	        .min = 1u << 16,
	        .max = UINT64_C(1) << 36,
	        .value_name = "BYTES",
	        .help = "What may stay in memory when the spool's disk refuses." },
	{ .name = "state-dir",
	        .kind = OPTION_TEXT,
	        .offset = AT(state_dir),
	        .fallback = "/var/lib/profleet",
	        .value_name = "DIR",
	        .help = "Folder of agent.uuid, by which the aggregator knows this agent after a "
	                "restart. Where it cannot be written the machine's id serves." },
	{ .name = "config",
	        .kind = OPTION_TEXT,
	        .offset = AT(config),
	        .value_name = "FILE",
	        .line_only = true,
	        .help = "YAML file with any of these options as keys. The command line wins over "
	                "it." },
	{ .name = "duration",
	        .kind = OPTION_DURATION,
	        .offset = AT(duration_ns),
	        .value_name = "TIME",
	        .line_only = true,
	        .help = "Stop after so long. Without it a signal does." },
	{ .name = "output",
	        .kind = OPTION_TEXT,
	        .offset = AT(output),
	        .value_name = "FILE",
	        .line_only = true,
	        .help = "Write everything to a file that ends in .folded, .pprof or .pb.gz, with "
	                "names, instead of sending it." },
	{ .name = "ready-fd",
	        .kind = OPTION_U32,
	        .offset = AT(ready_fd),
	        .fallback = "0",
	        .max = 1023,
	        .value_name = "N",
	        .line_only = true,
	        .help = "File descriptor that gets one line \"ready TIER HZ\" once samples are "
	                "taken. 0: none. systemd is told through sd_notify by itself." },
	{ .name = "stop-timeout",
	        .kind = OPTION_DURATION,
	        .offset = AT(stop_timeout_ns),
	        .fallback = "5s",
	        .max = UINT64_C(600000000000),
	        .value_name = "TIME",
	        .help = "How long to try to deliver the last interval at stop." },
	{ .name = "log-level",
	        .kind = OPTION_ENUM,
	        .offset = AT(log_level),
	        .fallback = "info",
	        .choices = log_levels,
	        .value_name = "LEVEL",
	        .reload = true,
	        .help = "Least severe event that is written." },
	{ .name = "log-format",
	        .kind = OPTION_ENUM,
	        .offset = AT(log_format),
	        .fallback = "text",
	        .choices = log_formats,
	        .value_name = "FORMAT",
	        .help = "One line per event on standard error." },
	{ .name = "environ-service",
	        .kind = OPTION_LIST,
	        .offset = AT(environ_service),
	        .value_name = "VARIABLE",
	        .help = "Environment variable that names a process's service; the first that is "
	                "set. Only variables named in these options are ever read, and reading "
	                "those of other users' processes needs CAP_SYS_PTRACE." },
	{ .name = "environ-version",
	        .kind = OPTION_LIST,
	        .offset = AT(environ_version),
	        .value_name = "VARIABLE",
	        .help = "Environment variable that names its version." },
	{ .name = "environ-label",
	        .kind = OPTION_LIST,
	        .offset = AT(environ_labels),
	        .value_name = "NAME=VARIABLE",
	        .parse_yaml = label_check,
	        .help = "Label whose value is an environment variable's." },
	{ .name = "relabel",
	        .kind = OPTION_CUSTOM,
	        .offset = AT(relabel),
	        .help = "Rules with source (a label), match (an extended regular expression, "
	                "anchored), target and value (with \\1 to \\9), applied in order; action: "
	                "drop removes the source.",
	        .reload = true,
	        .file_only = true,
	        .parse_yaml = relabel_read },
	{ 0 },
};

const struct option_table agent_option_table = {
	.program = "profleet-agent",
	.summary = "profile every process of this machine, all the time",
	.usage = "[options]",
	.description =
	        "Samples what every CPU does, with kernel and user stack, and sends it to "
	        "profleet-aggregator in batches. No process is touched, restarted or slowed "
	        "noticeably.\n\n"
	        "CAP_BPF and CAP_PERFMON are all it needs; CAP_SYSLOG adds the names of kernel "
	        "functions where the kernel hides them, and CAP_SYS_PTRACE the files and "
	        "environments of other users' processes. What is missing is said at the start.\n\n"
	        "With --output nothing is sent: the profile of --duration is written to a file, "
	        "with names.\n\n"
	        "SIGHUP reads the file of --config again and takes label, relabel and log-level "
	        "from it.",
	.examples = "profleet-agent\n"
	            "profleet-agent --aggregator tcp://profiles.example:7470 --label region=eu-1 "
	            "--spool /var/lib/profleet/spool\n"
	            "profleet-agent --duration 10s --output cpu.pprof",
	.exit_codes = "0   stopped by a signal, or --duration is over\n"
	              "1   the output could not be written\n"
	              "2   usage or configuration error\n"
	              "71  out of memory\n"
	              "73  the spool folder cannot be used\n"
	              "77  this machine grants no sampling; the message says what to grant",
	.options = agent_options,
	.args_min = 0,
	.args_max = 0,
};

static int agent_config_check(const struct agent_config *config)
{
	if (!config->output && !net_address_is_valid(config->aggregator)) {
		fprintf(stderr,
		        "profleet-agent: --aggregator %s: not an address; write "
		        "tcp://127.0.0.1:7470\n",
		        config->aggregator);
		return EXIT_USAGE;
	}
	if (config->ready_fd > 0 && !service_fd_is_open((int)config->ready_fd)) {
		fprintf(stderr,
		        "profleet-agent: --ready-fd %u: not an open file descriptor; open it for "
		        "the agent, as in: profleet-agent --ready-fd 3 3>ready\n",
		        config->ready_fd);
		return EXIT_USAGE;
	}
	if (config->output && config->duration_ns == 0) {
		fprintf(stderr,
		        "profleet-agent: --output needs --duration; write --duration 10s\n");
		return EXIT_USAGE;
	}
	return 0;
}

int agent_config_read(struct agent_config *config, int argc, char **argv)
{
	struct option_args args;
	char error[512] = "";

	*config = (struct agent_config){ 0 };
	if (options_init(&agent_option_table, config) < 0)
		return EXIT_USAGE;
	enum options_outcome outcome = options_parse_line(
	        &agent_option_table, argc, argv, config, &args);
	if (outcome != OPTIONS_OK)
		return outcome == OPTIONS_HELP ? -1 : EXIT_USAGE;
	if (config->config) {
		if (options_parse_file(&agent_option_table, config->config, config, false, error,
		            sizeof(error)) < 0) {
			fprintf(stderr, "profleet-agent: %s\n", error);
			return EXIT_USAGE;
		}
		if (options_parse_line(&agent_option_table, argc, argv, config, &args) !=
		        OPTIONS_OK)
			return EXIT_USAGE;
	}
	return agent_config_check(config);
}

void agent_config_fini(struct agent_config *config)
{
	options_fini(&agent_option_table, config);
	relabel_table_free(&config->relabel);
}
