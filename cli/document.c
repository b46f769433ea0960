#include "cli/document.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "cli/plot.h"
#include "cli/svg.h"
#include "cli/svg_text.h"

static bool is_html(const struct document *d)
{
    return d->format == DOCUMENT_HTML;
}

static void print_text(const struct document *d, const char *text)
{
    if (is_html(d)) {
        svg_text_print(d->out, text, strlen(text));
        return;
    }
    for (char before = ' '; *text; before = *text++) {
        bool inside = *text == '_' && isalnum((unsigned char)before) && isalnum((unsigned char)text[1]);
        if (strchr("\\`*_|<[", *text) && !inside)
            putc('\\', d->out);
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, d->out);
    }
}

static const char style[] =
    ":root{color-scheme:light dark;--fg:#1b1b1b;--bg:#fff;--dim:#5c5c5c;--line:#d8d8d8;--code:#f4f4f4}"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e6e6;--bg:#161616;--dim:#a6a6a6;--line:#3a3a3a;--code:#222}}"
    "body{font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:var(--fg);background:var(--bg);"
    "max-width:72rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .75rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
    "th{color:var(--dim);font-weight:600}th:first-child,td:first-child{text-align:left}"
    "pre{background:var(--code);padding:.75rem 1rem;overflow-x:auto;border-radius:.4rem;font-size:.85rem}"
    "svg{max-width:100%;height:auto;border-radius:.4rem}li{margin:.2rem 0}";

void document_begin(struct document *d, const char *title)
{
    if (is_html(d)) {
        fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
              "content=\"width=device-width,initial-scale=1\">\n<title>",
              d->out);
        print_text(d, title);
        fprintf(d->out, "</title>\n<style>%s</style>\n</head>\n<body>\n", style);
    }
    document_heading(d, 1, title);
}

void document_end(struct document *d)
{
    if (is_html(d))
        fputs("</body>\n</html>\n", d->out);
}

void document_heading(struct document *d, int level, const char *text)
{
    if (is_html(d))
        fprintf(d->out, "<h%d>", level);
    else
        fprintf(d->out, "%s%.*s ", level > 1 ? "\n" : "", level, "######");
    print_text(d, text);
    if (is_html(d))
        fprintf(d->out, "</h%d>", level);
    putc('\n', d->out);
}

void document_paragraph(struct document *d, const char *text)
{
    fputs(is_html(d) ? "<p>" : "\n", d->out);
    print_text(d, text);
    fputs(is_html(d) ? "</p>\n" : "\n", d->out);
}

void document_list_begin(struct document *d)
{
    fputs(is_html(d) ? "<ul>\n" : "\n", d->out);
}

void document_list_item(struct document *d, const char *text)
{
    fputs(is_html(d) ? "<li>" : "- ", d->out);
    print_text(d, text);
    fputs(is_html(d) ? "</li>\n" : "\n", d->out);
}

void document_list_end(struct document *d)
{
    if (is_html(d))
        fputs("</ul>\n", d->out);
}

void document_code(struct document *d, const char *text)
{
    if (is_html(d)) {
        fputs("<pre>", d->out);
        svg_text_print(d->out, text, strlen(text));
        fputs("</pre>\n", d->out);
        return;
    }
    fputc('\n', d->out);
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        fprintf(d->out, "    %.*s\n", (int)size, line);
        line += size + (line[size] == '\n');
    }
}

void document_table_begin(struct document *d)
{
    d->column = 0;
    fputs(is_html(d) ? "<div class=\"scroll\"><table>\n<thead><tr>" : "\n|", d->out);
}

void document_table_column(struct document *d, const char *title)
{
    fputs(is_html(d) ? "<th>" : " ", d->out);
    print_text(d, title);
    fputs(is_html(d) ? "</th>" : " |", d->out);
    d->column++;
}

void document_table_row(struct document *d)
{
    if (is_html(d)) {
        fputs(d->column >= 0 ? "</tr></thead>\n<tbody><tr>" : "</tr>\n<tr>", d->out);
    } else {
        if (d->column >= 0) {
            fputs("\n| --- |", d->out);
            for (int i = 1; i < d->column; i++)
                fputs(" ---: |", d->out);
        }
        fputs("\n|", d->out);
    }
    d->column = -1;
}

void document_table_cell(struct document *d, const char *text)
{
    fputs(is_html(d) ? "<td>" : " ", d->out);
    print_text(d, text);
    fputs(is_html(d) ? "</td>" : " |", d->out);
}

void document_table_end(struct document *d)
{
    fputs(is_html(d) ? "</tr></tbody>\n</table></div>\n" : "\n", d->out);
}

void document_picture(struct document *d, const struct plot *plot)
{
    if (!is_html(d)) {
        if (d->picture) {
            fputs("\n![", d->out);
            print_text(d, plot->title);
            fprintf(d->out, "](%s)\n", d->picture);
        }
        return;
    }
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    svg_print(memory, plot);
    if (fclose(memory) != 0)
        abort();
    const char *svg = strstr(text, "<svg"); /* behind the XML declaration, which stands in files alone */
    fputs(svg ? svg : text, d->out);
    free(text);
}
