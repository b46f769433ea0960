/* output.c: see output.h. */
#include "cli/output.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"

bool output_is_terminal(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

bool output_has_colour(FILE *stream)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (no_color && *no_color)
        return false;
    return term && strcmp(term, "dumb") != 0 && output_is_terminal(stream);
}

const char *output_style(FILE *stream, enum output_style style)
{
    static const char *const sequences[STYLE_COUNT] = {
        [STYLE_PLAIN] = "\033[0m", [STYLE_BOLD] = "\033[1m",     [STYLE_DIM] = "\033[2m",
        [STYLE_RED] = "\033[31m",  [STYLE_GREEN] = "\033[32m",   [STYLE_YELLOW] = "\033[33m",
        [STYLE_BLUE] = "\033[34m", [STYLE_MAGENTA] = "\033[35m", [STYLE_CYAN] = "\033[36m",
    };
    return output_has_colour(stream) ? sequences[style] : "";
}

int output_width(void)
{
    struct winsize size;
    int width = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    const char *columns = getenv("COLUMNS");
    if (width <= 0 && columns)
        width = (int)strtol(columns, NULL, 10);
    if (width <= 0)
        width = 80;
    return width < 20 ? 20 : width > 1000 ? 1000 : width;
}

static void print_string(FILE *stream, const char *s)
{
    putc('"', stream);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        switch (c) {
        case '"':
            fputs("\\\"", stream);
            break;
        case '\\':
            fputs("\\\\", stream);
            break;
        case '\n':
            fputs("\\n", stream);
            break;
        case '\t':
            fputs("\\t", stream);
            break;
        case '\r':
            fputs("\\r", stream);
            break;
        default:
            if (c < 0x20 || c == 0x7f)
                fprintf(stream, "\\u%04x", c);
            else
                putc(c, stream);
        }
    }
    putc('"', stream);
}

static void print_number(FILE *stream, double v)
{
    if (!isfinite(v)) {
        fputs(isnan(v) ? "\"nan\"" : v < 0 ? "\"-inf\"" : "\"inf\"", stream);
    } else if (v == floor(v) && fabs(v) < 9007199254740992.0 && !(v == 0 && signbit(v))) {
        fprintf(stream, "%lld", (long long)v);
    } else {
        char text[JSON_NUMBER_SIZE];
        json_number_text(v, text);
        fputs(text, stream);
    }
}

static void print_item(FILE *stream, const cJSON *item)
{
    if (!item || cJSON_IsNull(item)) {
        fputs("null", stream);
    } else if (cJSON_IsBool(item)) {
        fputs(cJSON_IsTrue(item) ? "true" : "false", stream);
    } else if (cJSON_IsNumber(item)) {
        print_number(stream, item->valuedouble);
    } else if (cJSON_IsString(item)) {
        print_string(stream, item->valuestring);
    } else if (cJSON_IsRaw(item)) {
        fputs(item->valuestring, stream);
    } else {
        bool object = cJSON_IsObject(item);
        putc(object ? '{' : '[', stream);
        for (const cJSON *child = item->child; child; child = child->next) {
            if (object) {
                print_string(stream, child->string);
                putc(':', stream);
            }
            print_item(stream, child);
            if (child->next)
                putc(',', stream);
        }
        putc(object ? '}' : ']', stream);
    }
}

void output_json(FILE *stream, const cJSON *item)
{
    print_item(stream, item);
    putc('\n', stream);
}

void output_text(FILE *stream, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            fprintf(stream, "\\x%02x", c);
        else
            putc(c, stream);
    }
}

/* Characters, for most a column each. */
static int columns_of(const char *text, size_t size)
{
    int n = 0;
    for (size_t i = 0; i < size; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

void output_line(FILE *stream, const char *text)
{
    int width = output_is_terminal(stream) ? output_width() : INT_MAX;
    int indent = (int)strspn(text, " "), used = indent;
    fprintf(stream, "%*s", indent, "");
    for (text += indent; *text;) {
        size_t size = strcspn(text, " ");
        int columns = columns_of(text, size);
        if (used > indent + 2 && columns > width - used - 1) {
            fprintf(stream, "\n%*s", indent + 2, "");
            used = indent + 2;
        } else if (used > indent) {
            putc(' ', stream);
            used++;
        }
        output_text(stream, text, size);
        used += columns;
        text += size + (text[size] == ' ');
    }
    putc('\n', stream);
}

bool output_flush(void)
{
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed || errno == EPIPE)
        return true;
    fprintf(stderr, "bakactl: standard output: %s\n", errno ? strerror(errno) : "not all was written");
    return false;
}

void output_format_count(double n, char out[32])
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    size_t i = 0;
    double v = fabs(n);
    while (v >= 999.5 && i + 1 < sizeof prefixes / sizeof *prefixes) {
        v /= 1000;
        i++;
    }
    int decimals = i == 0 ? 0 : v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
    snprintf(out, 32, "%s%.*f%s", n < 0 ? "-" : "", decimals, v, prefixes[i]);
}

void output_format_bytes(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t i = 0;
    while (bytes >= 1023.5 && i + 1 < sizeof units / sizeof *units) {
        bytes /= 1024;
        i++;
    }
    snprintf(out, 32, "%.*f %s", i == 0 ? 0 : bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0, bytes, units[i]);
}
