//! To which entry a comment belongs, and where it stands in the canonical form.

use crate::fmt::{Entry, Value};
use crate::tree::Comment;

/// An entry in the order of the file, before those inside it.
struct Spot {
    /// Steps from the root.
    path: Vec<usize>,
    parent: Option<usize>,
    start: (u32, u32),
    end: (u32, u32),
    column: u32,
    flow: bool,
    /// Whether it is a list or map without brackets: a comment behind its last line belongs to what is inside.
    block: bool,
}

/// Gives each comment to an entry.
///
/// Behind something in its line: to that. Alone in its line: to the entry that follows, or, when it is indented
/// deeper than that one, below the entry before it.
pub(super) fn attach(root: &mut Entry, comments: &[Comment]) {
    let mut spots = Vec::new();
    collect(root, &mut Vec::new(), None, &mut spots);
    for comment in comments {
        let at = (comment.line, comment.column);
        let next = spots.partition_point(|spot| spot.start < at);
        let text = said(&comment.text);
        let line = spots.partition_point(|spot| spot.start < (comment.line, 0));
        if let Some(spot) = trailing(&spots, line..next, at) {
            entry(root, &spots[spot].path).trailing.push(text);
            continue;
        }
        match spots.get(next) {
            Some(spot) if comment.column <= spot.column || next == 0 => {
                entry(root, &spot.path).leading.push(text);
            }
            _ => match above(&spots, next, comment.column) {
                Some(spot) => entry(root, &spots[spot].path).below.push(text),
                None => match spots.get(next) {
                    Some(spot) => entry(root, &spot.path).leading.push(text),
                    None => root.below.push(text),
                },
            },
        }
    }
}

/// With a blank behind `#`, so that each is written alike.
fn said(text: &str) -> String {
    let blank = text.is_empty() || text.starts_with([' ', '!', '#']);
    format!("#{}{text}", if blank { "" } else { " " })
}

fn collect(entry: &Entry, path: &mut Vec<usize>, parent: Option<usize>, spots: &mut Vec<Spot>) {
    for (number, inner) in entry.inner().iter().enumerate() {
        path.push(number);
        let here = spots.len();
        let Entry { start, end, column, flow, .. } = *inner;
        let block = !flow && !matches!(inner.value, Value::Scalar(_));
        spots.push(Spot { path: path.clone(), parent, start, end, column, flow, block });
        collect(inner, path, Some(here), spots);
        path.pop();
    }
}

fn entry<'a>(root: &'a mut Entry, path: &[usize]) -> &'a mut Entry {
    path.iter().fold(root, |entry, step| &mut entry.inner_mut()[*step])
}

/// The entry behind which a comment stands, `line` being those that start in its line before it.
fn trailing(spots: &[Spot], line: std::ops::Range<usize>, at: (u32, u32)) -> Option<usize> {
    let ended = |spot: &usize| spots[*spot].end.0 == at.0 && spots[*spot].end <= at;
    if !line.is_empty() {
        let whole = |spot: &usize| ended(spot) && !spots[*spot].block;
        return line.clone().find(whole).or(Some(line.end - 1));
    }
    // Nothing starts in this line: something in brackets ends in it, or the comment stands alone.
    let mut here = line.start.checked_sub(1)?;
    let mut found = None;
    loop {
        if spots[here].flow && ended(&here) {
            found = Some(here);
        } else if found.is_some() {
            return found;
        }
        match spots[here].parent {
            Some(parent) => here = parent,
            None => return found,
        }
    }
}

/// The innermost entry before a comment that is not indented deeper than it.
fn above(spots: &[Spot], next: usize, column: u32) -> Option<usize> {
    let mut here = next.checked_sub(1)?;
    while spots[here].column > column {
        here = spots[here].parent?;
    }
    Some(here)
}

/// After sorting: a comment below one entry and above the next is written alike, so it is kept as the latter;
/// one above the first entry of a list's item stands above the item.
pub(super) fn settle(root: &mut Entry) {
    let list = matches!(root.value, Value::List(_));
    let inner = root.inner_mut();
    for entry in inner.iter_mut() {
        settle(entry);
        if list && let Some(first) = entry.inner_mut().first_mut() {
            let above = std::mem::take(&mut first.leading);
            entry.leading.extend(above);
        }
    }
    for number in 1..inner.len() {
        let mut above = std::mem::take(&mut inner[number - 1].below);
        above.append(&mut inner[number].leading);
        inner[number].leading = above;
    }
}
