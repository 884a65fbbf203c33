#pragma once

/*
 * log writes one line per event to standard error, as text or JSON.
 *
 * The first argument is the event's id: stable across releases, words joined by dashes, so that
 * an operator can alert on it. Each failure is logged once, where it is decided. core, profile
 * and storage return errors and log at debug only.
 *
 *	log_warn("shard-unreachable", "%s: %s", address, reason);
 *
 * Safe from any thread. Control characters in the text are escaped: names from profiled
 * processes end up here.
 */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* The program's name stands in every line. Defaults: "profleet", info, text. */
void log_setup(const char *program, enum log_level level, enum log_format format);
void log_set_level(enum log_level level);

void log_event(enum log_level level, const char *id, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_debug(id, ...) log_event(LOG_LEVEL_DEBUG, id, __VA_ARGS__)
#define log_info(id, ...)  log_event(LOG_LEVEL_INFO, id, __VA_ARGS__)
#define log_warn(id, ...)  log_event(LOG_LEVEL_WARN, id, __VA_ARGS__)
#define log_error(id, ...) log_event(LOG_LEVEL_ERROR, id, __VA_ARGS__)
