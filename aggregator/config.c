/* The table. Defaults suit one machine with a few hundred agents. */

#include "aggregator/config.h"

#include <stddef.h>

#include "core/clock.h"

static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const outputs[] = { "text", "json", NULL };
static const char *const admin_froms[] = { "loopback", "anywhere", "off", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

/* Room for names, for each stack node the store may hold; most nodes bring no new name. */
#define STRING_BYTES_EACH 64

#define AT(member) offsetof(struct aggregator_config, member)

static const struct option_spec aggregator_options[] = {
	{ .name = "data",
	        .kind = OPTION_TEXT,
	        .offset = AT(data),
	        .value_name = "DIR",
	        .required = true,
	        .help = "Folder that holds everything; made when it is not there. One aggregator "
	                "at a time." },
	{ .name = "listen",
	        .kind = OPTION_TEXT,
	        .offset = AT(listen),
	        .fallback = "tcp://127.0.0.1:7470",
	        .value_name = "ADDRESS",
	        .help = "Where agents, importers and the CLI connect. Port 0 picks a free port." },
	{ .name = "http",
	        .kind = OPTION_TEXT,
	        .offset = AT(http),
	        .fallback = "127.0.0.1:7471",
	        .value_name = "ADDRESS",
	        .help = "Where /healthz, /readyz and /metrics are served. Port 0 picks a free "
	                "port; "
	                "\"off\" serves nothing. There is no authentication: keep it on "
	                "loopback." },
	{ .name = "config",
	        .kind = OPTION_TEXT,
	        .offset = AT(config),
	        .value_name = "FILE",
	        .line_only = true,
	        .help = "YAML file with any of these options as keys. The command line wins over "
	                "it. "
	                "SIGHUP reads it again." },
	{ .name = "check-config",
	        .kind = OPTION_FLAG,
	        .offset = AT(check_config),
	        .line_only = true,
	        .help = "Check the command line and the file, say what is wrong, and exit." },
	{ .name = "verify",
	        .kind = OPTION_FLAG,
	        .offset = AT(verify),
	        .line_only = true,
	        .help = "Do not listen, but read everything in the folder, every checksum and "
	                "every reference, print what is wrong, and exit. Nothing is changed; no "
	                "aggregator may have it open. Works on a backup, too." },
	{ .name = "restore",
	        .kind = OPTION_TEXT,
	        .offset = AT(restore),
	        .value_name = "BACKUP",
	        .line_only = true,
	        .help = "Do not listen, but make the folder --data, which must be empty or not "
	                "there, from this folder of a backup, check every byte on the way, and "
	                "exit." },
	{ .name = "output",
	        .short_name = 'o',
	        .kind = OPTION_ENUM,
	        .offset = AT(output),
	        .fallback = "text",
	        .choices = outputs,
	        .value_name = "FORMAT",
	        .line_only = true,
	        .help = "How --verify prints what it found." },
	{ .name = "ready-fd",
	        .kind = OPTION_U32,
	        .offset = AT(ready_fd),
	        .fallback = "0",
	        .min = 0,
	        .max = 1023,
	        .value_name = "N",
	        .line_only = true,
	        .help = "File descriptor that gets one line \"ready tcp://... http://...\" once "
	                "requests are "
	                "answered. 0: none. systemd is told through sd_notify by itself." },
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
	{ .name = "memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(memory),
	        .min = 77u << 20,
	        .range_why = "77MiB are the least that its parts need to work at all, with two "
	                     "query-threads",
	        .max = UINT64_C(1) << 44,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "What the aggregator may use in all; each part below that is not named "
	                "gets a share of it. The least is what all of them need to work at all, "
	                "4MiB of it for each of two query-threads. Without it, half of what the "
	                "machine or its cgroup has." },
	{ .name = "ingest-queue-bytes",
	        .kind = OPTION_BYTES,
	        .offset = AT(ingest_queue_bytes),
	        .min = 8u << 20,
	        .max = UINT64_C(1) << 36,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "Messages that may wait for the next group commit. Beyond it senders are "
	                "told BUSY." },
	{ .name = "query-threads",
	        .kind = OPTION_U32,
	        .offset = AT(query_threads),
	        .fallback = "2",
	        .min = 1,
	        .max = 64,
	        .value_name = "N",
	        .help = "Questions that are answered at once." },
	{ .name = "query-memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(query_memory),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "Memory of one question, for both sides of a diff together. Beyond it the "
	                "question is refused with what to "
	                "narrow." },
	{ .name = "result-memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(result_memory),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "Finished answers that wait to be fetched page by page; the oldest go "
	                "first." },
	{ .name = "name-memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(name_memory),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "What stacks are called, remembered from one question to the next: about "
	                "100 bytes for each distinct stack node that was asked for. Beyond it "
	                "everything is forgotten and the next questions take longer." },
	{ .name = "session-memory",
	        .kind = OPTION_BYTES,
	        .offset = AT(session_memory),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .reload = true,
	        .help = "Dictionaries of connected senders. Beyond it the longest idle session is "
	                "dropped; "
	                "its sender opens a new one and loses nothing." },
	{ .name = "session-stacks",
	        .kind = OPTION_U32,
	        .offset = AT(session_nodes),
	        .fallback = "262144",
	        .min = 65536,
	        .max = 1u << 26,
	        .value_name = "N",
	        .help = "Stack nodes in one session's dictionary." },
	{ .name = "push-bytes",
	        .kind = OPTION_U32,
	        .offset = AT(push_bytes),
	        .fallback = "4194304",
	        .min = 65536,
	        .max = 32u << 20,
	        .value_name = "BYTES",
	        .help = "Unpacked size of one message that senders are asked to keep to." },
	{ .name = "block-cache",
	        .kind = OPTION_BYTES,
	        .offset = AT(block_cache),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .help = "Memory for blocks read from disk." },
	{ .name = "symbol-cache",
	        .kind = OPTION_BYTES,
	        .offset = AT(symbol_cache),
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .help = "Memory for open function tables." },
	{ .name = "stacks-max",
	        .kind = OPTION_U32,
	        .offset = AT(stacks_max),
	        .fallback = "33554432",
	        .min = 65536,
	        .max = 1u << 31,
	        .value_name = "N",
	        .help = "Stack nodes that one generation of the dictionary may have at most, about "
	                "40 "
	                "bytes of memory each, and 64 bytes of names. One that is full gives way "
	                "to the next." },
	{ .name = "generation-age",
	        .kind = OPTION_DURATION,
	        .offset = AT(generation_age),
	        .fallback = "7d",
	        .min = 60 * NS_PER_S,
	        .max = 3650 * 86400 * NS_PER_S,
	        .value_name = "TIME",
	        .help = "How long a generation of the dictionary grows before the next one begins. "
	                "The names of a generation are forgotten with the last of its data." },
	{ .name = "generation-stacks",
	        .kind = OPTION_U32,
	        .offset = AT(generation_stacks),
	        .fallback = "33554432",
	        .min = 65536,
	        .max = 1u << 31,
	        .value_name = "N",
	        .help = "Stack nodes after which a new generation begins before its time." },
	{ .name = "service-stacks",
	        .kind = OPTION_U32,
	        .offset = AT(service_stacks),
	        .fallback = "1048576",
	        .min = 1,
	        .max = 1u << 31,
	        .value_name = "N",
	        .help = "New stacks that one service may bring within ten minutes. Further ones "
	                "are kept under their deepest caller that is known, counted, and told by "
	                "every "
	                "answer that has some of them, for as long as it is kept." },
	{ .name = "seal-size",
	        .kind = OPTION_BYTES,
	        .offset = AT(seal_size),
	        .fallback = "256MiB",
	        .min = 1u << 20,
	        .max = UINT64_C(1) << 40,
	        .value_name = "BYTES",
	        .help = "An open window of ten minutes that has grown to this is sealed at once, "
	                "and what comes for it afterwards beside it." },
	{ .name = "seal-every",
	        .kind = OPTION_DURATION,
	        .offset = AT(seal_every_ns),
	        .fallback = "30s",
	        .min = NS_PER_S / 10,
	        .max = 600 * NS_PER_S,
	        .value_name = "DURATION",
	        .help = "How often windows that ended are sealed, and hours and days rolled up." },
	{ .name = "late-max",
	        .kind = OPTION_DURATION,
	        .offset = AT(late_max),
	        .fallback = "3d",
	        .min = 600 * NS_PER_S,
	        .max = 3650 * 86400 * NS_PER_S,
	        .value_name = "TIME",
	        .help = "How old an interval of an agent may be when it arrives. Older ones are "
	                "refused, and their agent counts them as lost. Not for imports." },
	{ .name = "backup-path",
	        .kind = OPTION_TEXT,
	        .offset = AT(backup_path),
	        .value_name = "DIR",
	        .help = "Folder for backups; made when it is not there. Empty: \"backups\" in the "
	                "data folder. On the same file system a backup shares files with the "
	                "store; a copy elsewhere is what survives the disk." },
	{ .name = "admin",
	        .kind = OPTION_ENUM,
	        .offset = AT(admin),
	        .fallback = "loopback",
	        .choices = admin_froms,
	        .value_name = "WHENCE",
	        .help = "Who may administer over --listen: policies, holds, deletion. There is no "
	                "authentication yet, so \"anywhere\" lets everyone who reaches the port "
	                "delete; \"off\" lets nobody." },
	{ .name = "roll-grace",
	        .kind = OPTION_DURATION,
	        .offset = AT(roll_grace_ns),
	        .fallback = "10m",
	        .min = 0,
	        .max = 86400 * NS_PER_S,
	        .value_name = "DURATION",
	        .help = "How long after its end an hour, and a day, is rolled up. What comes later "
	                "is added in time." },
	{ .name = "fold-hour",
	        .kind = OPTION_U32,
	        .offset = AT(fold_hour),
	        .fallback = "0",
	        .min = 0,
	        .max = 1u << 20,
	        .value_name = "SAMPLES",
	        .help = "In sums of an hour, count stacks that were seen less often than this at "
	                "an ancestor. 0: none." },
	{ .name = "fold-day",
	        .kind = OPTION_U32,
	        .offset = AT(fold_day),
	        .fallback = "2",
	        .min = 0,
	        .max = 1u << 20,
	        .value_name = "SAMPLES",
	        .help = "The same in sums of a day. Answers say how much was moved." },
	{ .name = "collapse-after",
	        .kind = OPTION_DURATION,
	        .offset = AT(collapse_after_ns),
	        .fallback = "30d",
	        .min = 0,
	        .max = 3650 * 86400 * NS_PER_S,
	        .value_name = "TIME",
	        .help = "How long after its end sums of a day tell stacks apart by functions "
	                "alone, "
	                "without addresses and lines. 0: never." },
	{ .name = "retention-every",
	        .kind = OPTION_DURATION,
	        .offset = AT(retention_every_ns),
	        .fallback = "10m",
	        .min = NS_PER_S / 10,
	        .max = 86400 * NS_PER_S,
	        .value_name = "DURATION",
	        .help = "How often policies are enforced. One that was not for two intervals and a "
	                "minute makes /healthz fail." },
	{ .name = "retention-grace",
	        .kind = OPTION_DURATION,
	        .offset = AT(retention_grace_ns),
	        .fallback = "1d",
	        .max = 365 * 86400 * NS_PER_S,
	        .value_name = "DURATION",
	        .help = "How long after a policy was made shorter it comes into force, and how "
	                "long nothing is hidden after an undo." },
	{ .name = "retention-delay",
	        .kind = OPTION_DURATION,
	        .offset = AT(retention_delay_ns),
	        .fallback = "2d",
	        .max = 365 * 86400 * NS_PER_S,
	        .value_name = "DURATION",
	        .help = "How long what expired is only hidden, and can be brought back by "
	                "`profleet retention undo`, before it is erased." },
	{ .name = "retention-floor",
	        .kind = OPTION_TEXT,
	        .offset = AT(retention_floor),
	        .value_name = "TIERS",
	        .help = "No policy may keep less: 30d for all tiers, or detail=1d,1h=30d; of "
	                "single "
	                "tenants behind semicolons: \"detail=1d; acme: detail=30d\"." },
	{ .name = "retention-ceiling",
	        .kind = OPTION_TEXT,
	        .offset = AT(retention_ceiling),
	        .value_name = "TIERS",
	        .help = "No policy may keep more, and nothing that has no policy is kept longer; "
	                "holds are. Tenants as for the floor." },
	{ .name = "shards",
	        .kind = OPTION_U32,
	        .offset = AT(shards),
	        .fallback = "1",
	        .min = 1,
	        .max = 4096,
	        .value_name = "N",
	        .help = "Virtual shards that senders divide services into. One aggregator owns "
	                "them all." },
	{ 0 },
};

const struct option_table aggregator_option_table = {
	.program = "profleet-aggregator",
	.summary = "receive, merge and keep the profiles of a fleet",
	.usage = "--data DIR [options]",
	.description =
	        "Receives batches of samples from profleet-agent and profleet import, merges them "
	        "into the "
	        "store in DIR, and answers the questions of the profleet command.\n\n"
	        "A batch is acknowledged only after it is synced to disk together with the number "
	        "that "
	        "makes a repeated batch recognizable, so every sample is counted exactly once.\n\n"
	        "SIGTERM answers what was accepted and stops. SIGHUP reads the configuration file "
	        "again "
	        "and changes the options marked as reloadable.",
	.examples = "profleet-aggregator --data /var/lib/profleet\n"
	            "profleet-aggregator --data ./data --listen tcp://127.0.0.1:0 --http off "
	            "--ready-fd 3\n"
	            "profleet-aggregator --config /etc/profleet/aggregator.yaml --check-config\n"
	            "profleet-aggregator --data /var/lib/profleet --verify -o json\n"
	            "profleet-aggregator --data /var/lib/new --restore /mnt/backups/nightly",
	.exit_codes =
	        "0   stopped by a signal; the configuration is right; --verify found no damage; "
	        "restored\n"
	        "1   --verify found damage\n"
	        "2   usage or configuration error\n"
	        "5   --verify: there is no store, it is in use, or of a newer version\n"
	        "71  the disk failed to sync: nothing more may be acknowledged\n"
	        "73  the data folder cannot be used\n"
	        "75  an address cannot be listened on",
	.options = aggregator_options,
	.args_min = 0,
	.args_max = 0,
};

struct dict_limits config_dict_limits(const struct aggregator_config *config)
{
	return (struct dict_limits){
		.strings = config->stacks_max,
		.modules = 1u << 22,
		.frames = config->stacks_max,
		.nodes = config->stacks_max,
		.series = 1u << 24,
		.string_bytes = (uint64_t)config->stacks_max * STRING_BYTES_EACH,
	};
}
