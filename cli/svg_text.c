/* svg_text.c: see svg_text.h. */
#include "cli/svg_text.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include "base/json_check.h"

/* Bytes of the character that begins here; *valid is false when XML cannot hold it. */
static size_t take(const char *text, size_t size, bool *valid)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = json_utf8_length(at, at + size);
    bool noncharacter = length == 3 && at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe;
    *valid = length > 0 && !noncharacter && (at[0] >= 0x20 || at[0] == '\t' || at[0] == '\n');
    return length ? length : 1;
}

void svg_text_print(FILE *out, const char *text, size_t size)
{
    size = strnlen(text, size);
    for (size_t length; size > 0; text += length, size -= length) {
        bool valid;
        length = take(text, size, &valid);
        if (!valid)
            putc('?', out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else
            fwrite(text, 1, length, out);
    }
}

/* In units of the font's size, of DejaVu Sans Bold, the widest font that is common. */
static double character_width(const char *text, size_t length)
{
    unsigned char c = (unsigned char)*text;
    if (length > 1)
        return c >= 0xe2 ? 1.05 : 0.84; /* from U+2000 on, where the ideographs are */
    if (strchr("iIjl|.,:;'! ()[]-", c))
        return 0.46;
    if (strchr("mwMW@%", c))
        return 1.1;
    return c >= 'A' && c <= 'Z' ? 0.8 : 0.71;
}

double svg_text_width(const char *text, size_t size, double font_px)
{
    double width = 0;
    size = strnlen(text, size);
    for (size_t length; size > 0; text += length, size -= length) {
        bool valid;
        length = take(text, size, &valid);
        width += character_width(text, length);
    }
    return width * font_px;
}

size_t svg_text_fit(const char *text, double font_px, double width)
{
    size_t size = strlen(text), at = 0, word_end = 0, part_end = 0;
    double used = 0;
    while (at < size) {
        bool valid;
        size_t length = take(text + at, size - at, &valid);
        used += character_width(text + at, length) * font_px;
        if (used > width && text[at] != ' ')
            return word_end ? word_end : part_end ? part_end : at ? at : length;
        at += length;
        if (text[at - 1] == ' ')
            word_end = at;
        else if (strchr("-_.", text[at - 1]) && !isdigit((unsigned char)text[at]))
            part_end = at;
    }
    return size;
}

const char *svg_text_next(const char *text, size_t fitted)
{
    text += fitted;
    return text + strspn(text, " ");
}
