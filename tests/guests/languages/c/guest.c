// The contract's transcript in C: calls every function of the host, meets its errors, and writes down what came back. Its
// siblings in other languages say the same, word for word.
//
// What is read out of JSON here is read by its text, which is enough for a transcript. A plugin takes a JSON library.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "reconciler.h"

typedef reconciler_string_t text;
typedef tenure_plugin_types_error_t contract_error;
typedef tenure_plugin_types_kind_t kind;
typedef tenure_plugin_types_object_ref_t object_ref;
typedef tenure_plugin_kubernetes_read_get_options_t get_options;
typedef tenure_plugin_kubernetes_read_list_options_t list_options;
typedef tenure_plugin_kubernetes_write_write_options_t write_options;
typedef tenure_plugin_kubernetes_write_delete_options_t delete_options;

enum { NAME_BYTES = 256, LINES_BYTES = 4096, TOO_MANY_BYTES = 4 << 20 };
static const time_t YEAR_2020 = 1577836800;

// Names are static where they fit in here, since a call is the only one of its instance.
static char lines[LINES_BYTES];

// Text that stays with its owner.
static text of(const char *chars) {
    text it;
    reconciler_string_set(&it, chars);
    return it;
}

static reconciler_option_string_t some(const char *chars) {
    return (reconciler_option_string_t){.is_some = true, .val = of(chars)};
}

static void named(char *name, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(name, NAME_BYTES, format, values);
    va_end(values);
}

// Adds a line; between two there is what JSON has for a line's end.
static void say(const char *format, ...) {
    size_t length = strlen(lines);
    if (length > 0) length += snprintf(lines + length, LINES_BYTES - length, "\\n");
    va_list values;
    va_start(values, format);
    vsnprintf(lines + length, LINES_BYTES - length, format, values);
    va_end(values);
}

static const char *truth(bool value) { return value ? "true" : "false"; }

static const uint8_t *found(text in, const char *what) {
    size_t length = strlen(what);
    for (size_t at = 0; at + length <= in.len; at++) {
        if (memcmp(in.ptr + at, what, length) == 0) return in.ptr + at;
    }
    return NULL;
}

// The first text under this key, at most NAME_BYTES of it.
static bool field(text json, const char *key, char *value) {
    char start[NAME_BYTES];
    named(start, "\"%s\":\"", key);
    const uint8_t *from = found(json, start);
    value[0] = '\0';
    if (from == NULL) return false;
    from += strlen(start);
    const uint8_t *end = memchr(from, '"', json.ptr + json.len - from);
    if (end != NULL) named(value, "%.*s", (int)(end - from), (const char *)from);
    return end != NULL;
}

// What a call came to: `ok`, or the error's reason, with the code in the API server's Status where it has one.
static const char *came(bool is_ok, text *answer, contract_error *error) {
    static char said[NAME_BYTES];
    if (is_ok) {
        reconciler_string_free(answer);
        return "ok";
    }
    const uint8_t *code = error->status.is_some ? found(error->status.val, "\"code\":") : NULL;
    int reason_bytes = (int)error->reason.len;
    const char *reason = (const char *)error->reason.ptr;
    if (code == NULL) named(said, "%.*s -", reason_bytes, reason);
    else named(said, "%.*s %d", reason_bytes, reason, atoi((const char *)code + strlen("\"code\":")));
    tenure_plugin_types_error_free(error);
    return said;
}

static object_ref config_map(const object_ref *beside, const char *name) {
    kind config_map = {of("v1"), of("ConfigMap")};
    return (object_ref){.kind = config_map, .namespace_ = beside->namespace_, .name = of(name)};
}

static const char *get(object_ref *object, get_options options) {
    text answer;
    contract_error error;
    bool is_ok = tenure_plugin_kubernetes_read_get(object, &options, &answer, &error);
    return came(is_ok, &answer, &error);
}

// How many objects there are, page by page.
static size_t listed(list_options options) {
    kind config_map = {of("v1"), of("ConfigMap")};
    size_t count = 0;
    text token = {0};
    bool more = true;
    options.limit = (reconciler_option_u32_t){.is_some = true, .val = 2};
    while (more) {
        tenure_plugin_kubernetes_read_page_t page;
        contract_error error;
        bool is_ok = tenure_plugin_kubernetes_read_list(&config_map, &options, &page, &error);
        reconciler_string_free(&token);
        if (!is_ok) {
            tenure_plugin_types_error_free(&error);
            return 0;
        }
        count += page.items.len;
        more = page.continue_token.is_some;
        if (more) {
            reconciler_string_dup_n(&token, (const char *)page.continue_token.val.ptr, page.continue_token.val.len);
        }
        options.continue_token = (reconciler_option_string_t){.is_some = more, .val = token};
        tenure_plugin_kubernetes_read_page_free(&page);
    }
    return count;
}

static void reads(object_ref *own, const char *name, const char *namespace) {
    char value[NAME_BYTES], parts[NAME_BYTES], by_field[NAME_BYTES];
    text answer;
    contract_error error;
    get_options cached = {0}, live = {.live = true}, metadata = {.live = true, .metadata_only = true};
    get_options status = {.subresource = some("status")};
    bool is_ok = tenure_plugin_kubernetes_read_get(own, &cached, &answer, &error);
    say("get %s", truth(is_ok && field(answer, "name", value) && strcmp(value, name) == 0));
    came(is_ok, &answer, &error);
    is_ok = tenure_plugin_kubernetes_read_get(own, &metadata, &answer, &error);
    say("get metadata %s", truth(is_ok && field(answer, "uid", value) && found(answer, "\"data\":") == NULL));
    came(is_ok, &answer, &error);
    object_ref other = config_map(own, "missing");
    say("get missing %s", get(&other, live));
    other.kind.kind = of("Secret");
    say("get not granted %s", get(&other, cached));
    say("get subresource %s", get(own, status));
    other.kind.kind = of("Nonsense");
    say("get unknown kind %s", get(&other, cached));

    named(parts, "part-of=%s.%s", namespace, name);
    named(by_field, "metadata.name=%s-part-1", name);
    list_options options = {.namespace_ = own->namespace_, .label_selector = some(parts)};
    say("list cached %zu", listed(options));
    options.live = options.metadata_only = true;
    say("list live %zu", listed(options));
    say("list by field %zu", listed((list_options){.namespace_ = own->namespace_, .field_selector = some(by_field)}));
    say("list everywhere %zu", listed((list_options){.label_selector = some(parts)}));
}

static const char *create(object_ref *object, text body, write_options options) {
    text answer;
    contract_error error;
    bool is_ok = tenure_plugin_kubernetes_write_create(object, &body, &options, &answer, &error);
    return came(is_ok, &answer, &error);
}

static const char *replace(object_ref *object, const char *json) {
    text answer, body = of(json);
    contract_error error;
    write_options plain = {0};
    bool is_ok = tenure_plugin_kubernetes_write_replace(object, &body, &plain, &answer, &error);
    return came(is_ok, &answer, &error);
}

static const char *patch(object_ref *object, tenure_plugin_kubernetes_write_patch_type_t type, const char *json) {
    text answer, body = of(json);
    contract_error error;
    write_options plain = {0};
    bool is_ok = tenure_plugin_kubernetes_write_patch(object, type, &body, &plain, &answer, &error);
    return came(is_ok, &answer, &error);
}

static const char *apply(object_ref *object, const char *json, bool force) {
    text answer, body = of(json);
    contract_error error;
    write_options plain = {0};
    bool is_ok = tenure_plugin_kubernetes_write_apply(object, &body, force, &plain, &answer, &error);
    return came(is_ok, &answer, &error);
}

static const char *delete(object_ref *object, delete_options options) {
    text answer;
    contract_error error;
    bool is_ok = tenure_plugin_kubernetes_write_delete(object, &options, &answer, &error);
    return came(is_ok, &answer, &error);
}

// A body that no host takes.
static const char *create_too_large(object_ref *object) {
    char *body = malloc(TOO_MANY_BYTES);
    if (body == NULL) return "no memory";
    memset(body, 'x', TOO_MANY_BYTES);
    const char *said = create(object, (text){(uint8_t *)body, TOO_MANY_BYTES}, (write_options){0});
    free(body);
    return said;
}

static const char *record_event(object_ref *own) {
    text reason = of("Called"), message = of("in c: ä→😀"), nothing = {0};
    contract_error error;
    uint8_t type = TENURE_PLUGIN_KUBERNETES_WRITE_EVENT_TYPE_WARNING;
    return came(tenure_plugin_kubernetes_write_record_event(own, type, &reason, &message, &error), &nothing, &error);
}

static void writes(object_ref *own, const char *name) {
    char made_name[NAME_BYTES], prefix[NAME_BYTES], value[NAME_BYTES], part_name[NAME_BYTES], body[2 * NAME_BYTES];
    char uid[NAME_BYTES], version[NAME_BYTES];
    named(made_name, "%s-made", name);
    named(prefix, "%s-", made_name);
    named(part_name, "%s-part-0", name);
    object_ref made = config_map(own, made_name), part = config_map(own, part_name), missing = config_map(own, "missing");
    write_options plain = {0};
    text answer;
    contract_error error;
    say("create dry %s", create(&made, of("{}"), (write_options){.dry_run = true}));
    say("create strict %s", create(&made, of("{\"nonsense\":1}"), (write_options){.field_validation = some("Strict")}));
    text first = of("{\"data\":{\"a\":\"ä→😀\"}}");
    bool is_ok = tenure_plugin_kubernetes_write_create(&made, &first, &plain, &answer, &error);
    say("create %s", truth(is_ok && field(answer, "a", value) && strcmp(value, "ä→😀") == 0));
    if (is_ok) {
        field(answer, "uid", uid);
        field(answer, "resourceVersion", version);
    }
    came(is_ok, &answer, &error);
    say("create again %s", create(&made, of("{}"), plain));

    object_ref generated = config_map(own, prefix);
    text empty = of("{}");
    char its_uid[NAME_BYTES], its_version[NAME_BYTES];
    is_ok = tenure_plugin_kubernetes_write_create(&generated, &empty, &plain, &answer, &error);
    bool is_named = is_ok && field(answer, "name", value) && field(answer, "uid", its_uid)
        && field(answer, "resourceVersion", its_version);
    came(is_ok, &answer, &error);
    is_named = is_named && strncmp(value, prefix, strlen(prefix)) == 0 && strlen(value) > strlen(prefix);
    say("generated %s", truth(is_named));
    generated.name = of(value);
    say("delete %s", delete(&generated, (delete_options){
        .uid = some(its_uid),
        .resource_version = some(its_version),
        .propagation = {.is_some = true, .val = TENURE_PLUGIN_KUBERNETES_WRITE_PROPAGATION_BACKGROUND},
        .grace_period_seconds = {.is_some = true, .val = 0},
    }));

    snprintf(body, sizeof body, "{\"metadata\":{\"resourceVersion\":\"%s\"},\"data\":{\"a\":\"2\"}}", version);
    const char *removal = "[{\"op\":\"remove\",\"path\":\"/data/b\"}]", *ours = "{\"data\":{\"value\":\"ours\"}}";
    say("replace %s", replace(&made, body));
    say("replace stale %s", replace(&made, body));
    say("patch merge %s",
        patch(&made, TENURE_PLUGIN_KUBERNETES_WRITE_PATCH_TYPE_MERGE, "{\"data\":{\"b\":\"3\"}}"));
    say("patch json %s", patch(&made, TENURE_PLUGIN_KUBERNETES_WRITE_PATCH_TYPE_JSON, removal));
    say("patch json again %s", patch(&made, TENURE_PLUGIN_KUBERNETES_WRITE_PATCH_TYPE_JSON, removal));
    say("apply %s", apply(&part, ours, false));
    say("apply forced %s", apply(&part, ours, true));
    say("apply other name %s", apply(&missing, "{\"metadata\":{\"name\":\"other\"}}", true));
    say("too large %s", create_too_large(&made));
    say("event %s", record_event(own));
    say("delete changed %s", delete(&made, (delete_options){.uid = some(uid), .resource_version = some(version)}));
    say("delete %s", delete(&made, (delete_options){0}));
    say("delete again %s", delete(&made, (delete_options){0}));
}

// Both clocks: one that knows the year, and one that does not go back.
static bool clock_goes(void) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return time(NULL) > YEAR_2020 && (after.tv_sec > before.tv_sec
        || (after.tv_sec == before.tv_sec && after.tv_nsec >= before.tv_nsec));
}

static uint64_t drawn(void) {
    uint64_t number = 0;
    getentropy(&number, sizeof number);
    return number;
}

static void emit(uint8_t level, const char *message, reconciler_tuple2_string_string_t *fields, size_t count) {
    text line = of(message);
    reconciler_list_tuple2_string_string_t all = {.ptr = fields, .len = count};
    tenure_plugin_log_emit(level, &line, &all);
}

static void transcript(reconciler_request_t *request, const char *name, const char *namespace) {
    text json;
    char greeting[NAME_BYTES];
    reconciler_tuple2_string_string_t fields[] = {{of("language"), of("c")}, {of("text"), of("ä→😀")}};
    printf("printed by c\n");
    fflush(stdout);
    emit(TENURE_PLUGIN_LOG_LEVEL_WARN, "called", fields, 2);
    tenure_plugin_settings_get(&json);
    field(json, "greeting", greeting);
    reconciler_string_free(&json);
    say("cause %s", request->cause.tag == TENURE_PLUGIN_RECONCILE_TYPES_CAUSE_CHANGED ? "changed" : "another");
    say("settings %s", greeting);
    say("term %llu", (unsigned long long)tenure_plugin_leadership_term());
    say("cancelled %s", truth(tenure_plugin_leadership_cancelled()));
    say("wait %s", truth(tenure_plugin_leadership_wait(1)));
    say("clock %s", truth(clock_goes()));
    say("random %s", truth(drawn() != drawn()));
    reads(&request->object, name, namespace);
    writes(&request->object, name);
}

// Writes the lines where the test reads them. False, with the error, where that fails.
static bool tell(object_ref *own, const char *name, contract_error *error) {
    char target_name[NAME_BYTES];
    static char body[LINES_BYTES + NAME_BYTES];
    named(target_name, "%s-told", name);
    snprintf(body, sizeof body, "{\"data\":{\"lines\":\"%s\"}}", lines);
    object_ref target = config_map(own, target_name);
    text answer, json = of(body);
    write_options plain = {0};
    bool is_ok = tenure_plugin_kubernetes_write_apply(&target, &json, false, &plain, &answer, error);
    if (is_ok) reconciler_string_free(&answer);
    return is_ok;
}

bool exports_reconciler_reconcile(reconciler_request_t *request, reconciler_outcome_t *outcome, contract_error *error) {
    char does[NAME_BYTES] = "", name[NAME_BYTES], namespace[NAME_BYTES];
    object_ref *own = &request->object;
    uint8_t cause = request->cause.tag;
    bool comes_again = cause == TENURE_PLUGIN_RECONCILE_TYPES_CAUSE_RETRIED;
    lines[0] = '\0';
    *outcome = (reconciler_outcome_t){0};
    named(name, "%.*s", (int)own->name.len, (const char *)own->name.ptr);
    named(namespace, "%.*s", (int)own->namespace_.val.len, (const char *)own->namespace_.val.ptr);
    if (request->body.is_some) field(request->body.val, "does", does);
    if (cause == TENURE_PLUGIN_RECONCILE_TYPES_CAUSE_SCHEDULED) {
        for (size_t at = 0; at < request->extra.len; at++) {
            reconciler_tuple2_string_string_t *pair = &request->extra.ptr[at];
            if (pair->f0.len == 3 && memcmp(pair->f0.ptr, "due", 3) == 0) {
                emit(TENURE_PLUGIN_LOG_LEVEL_INFO, "scheduled", pair, 1);
            }
        }
        outcome->requeue_after_ms = (reconciler_option_u64_t){.is_some = true, .val = 1ull << 40};
        reconciler_request_free(request);
        return true;
    }
    bool is_ok = true;
    if (cause == TENURE_PLUGIN_RECONCILE_TYPES_CAUSE_DELETED) {
        say("deleted %s", does);
    } else if (strcmp(does, "transcript") == 0) {
        transcript(request, name, namespace);
    } else if (comes_again && (strcmp(does, "fail") == 0 || strcmp(does, "again") == 0)) {
        say("retried %u", request->cause.val.retried);
    } else if (strcmp(does, "fail") == 0) {
        *error = (contract_error){.retry_after_ms = {.is_some = true, .val = 1}};
        reconciler_string_dup(&error->reason, "GuestError");
        reconciler_string_dup(&error->message, "told to");
        is_ok = false;
    } else if (strcmp(does, "again") == 0) {
        outcome->requeue_after_ms = (reconciler_option_u64_t){.is_some = true, .val = 1};
    } else if (strcmp(does, "wait") == 0) {
        say("waiting");
        is_ok = tell(own, name, error);
        while (is_ok && !tenure_plugin_leadership_wait(60000)) {
        }
        lines[0] = '\0';
        say("cancelled %s", truth(tenure_plugin_leadership_cancelled()));
    } else if (strcmp(does, "meet") == 0) {
        text answer;
        get_options live = {.live = true};
        is_ok = tenure_plugin_kubernetes_read_get(own, &live, &answer, error);
        if (is_ok) reconciler_string_free(&answer);
    }
    if (is_ok && lines[0] != '\0') is_ok = tell(own, name, error);
    reconciler_request_free(request);
    return is_ok;
}
