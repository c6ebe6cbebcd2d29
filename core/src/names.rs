//! Numbers workspaces, sources and users, and keeps the latest label of each user. All other modules use these numbers
//! in place of texts. The Python form, with the stored formats, is `stream/tables/names.py`.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::formats::{put_array, put_int, put_text, shown, Changes, FormatError, Reader};
use crate::mutants::kept;
use crate::small_map::SmallMap;
use crate::text::Text;

pub const KIND: u8 = b'n';
const VERSION: u8 = 1;

/// The number of "without a source".
pub const NO_SOURCE: u32 = 0;

/// Texts by number, each once.
pub struct Interned {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    texts: Vec<Box<str>>,
    free: Vec<u32>,
}

fn remove(numbers: &mut HashTable<u32>, hash: u64, number: u32) {
    if let Ok(found) = numbers.find_entry(hash, |&other| other == number) {
        found.remove();
    }
}

impl Interned {
    fn new() -> Self {
        Interned {
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            texts: Vec::new(),
            free: Vec::new(),
        }
    }

    pub fn number_of(&mut self, text: &str) -> u32 {
        self.find_or_add(text).0
    }

    fn find(&self, text: &str) -> Option<u32> {
        let is_it = |&number: &u32| *self.texts[number as usize] == *text;
        self.numbers.find(self.hasher.hash_one(text), is_it).copied()
    }

    /// The number of a text, and whether it was added.
    fn find_or_add(&mut self, text: &str) -> (u32, bool) {
        if let Some(number) = self.find(text) {
            return (number, false);
        }
        let hash = self.hasher.hash_one(text);
        let number = self.free.pop().unwrap_or(self.texts.len() as u32);
        if number as usize == self.texts.len() {
            self.texts.push(text.into());
        } else {
            self.texts[number as usize] = text.into();
        }
        let (hasher, texts) = (&self.hasher, &self.texts);
        self.numbers.insert_unique(hash, number, |&number| hasher.hash_one(&*texts[number as usize]));
        (number, true)
    }

    /// Forgets a text: its number will be another's.
    fn release(&mut self, number: u32) {
        remove(&mut self.numbers, self.hasher.hash_one(&*self.texts[number as usize]), number);
        self.texts[number as usize] = "".into();
        self.free.push(number);
    }

    pub fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// A hash for a table, which looks at its upper and lower bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A user's latest label; `offset` is that of the event which moved it last.
struct User {
    /// "" for events without a user.
    id: Text,
    /// Half of the hash of its id.
    hash: u32,
    seen: bool,
    moved: bool,
    occurred_at: i64,
    offset: i64,
    label: Option<Text>,
}

impl User {
    fn id(&self) -> Option<&str> {
        Some(self.id.as_str()).filter(|id| !id.is_empty())
    }

    fn label(&self) -> Option<&str> {
        self.label.as_ref().map(Text::as_str)
    }
}

#[derive(Default)]
struct Workspace {
    /// Whether a name of it is kept.
    named: bool,
    /// Users from this number on came when no name more was kept; 0: none did.
    unkept_from: u32,
    /// Users by their id; "" is without one.
    numbers: HashTable<u32>,
    users: Vec<User>,
    /// Users in the order in which they were seen.
    order: Vec<u32>,
    /// Source -> offset of its first sight, in the order of these.
    sources: SmallMap,
}

/// A user's latest label, for a call to Redis.
pub struct UserName<'a> {
    pub workspace: u32,
    pub user_id: Option<&'a str>,
    pub occurred_at: i64,
    pub offset: i64,
    pub label: Option<&'a str>,
}

pub struct Names {
    hasher: DefaultHashBuilder,
    workspace_ids: Interned,
    source_texts: Interned,
    workspaces: Vec<Workspace>,
    /// Workspaces in the order in which their first name was kept.
    order: Vec<u32>,
    limit: usize,
    /// How often a user or source came whose name is not kept.
    pub not_kept: u64,
    unkept: Unkept,
    moved_users: Vec<(u32, u32)>,
    moved_sources: Vec<(u32, u32)>,
    /// How many keys the changelog has of them, with what was encoded.
    pub keys: usize,
}

/// What got a number when no name more was kept, and may be forgotten.
#[derive(Default)]
struct Unkept {
    /// How many, since some were forgotten last.
    count: usize,
    /// Workspaces that have such users.
    users_of: Vec<u32>,
    sources: Vec<u32>,
    workspaces: Vec<u32>,
}

/// What moved since the last commit: (workspace, user) and (workspace, source).
#[derive(Default)]
pub struct Moved {
    pub users: Vec<(u32, u32)>,
    pub sources: Vec<(u32, u32)>,
}

/// Where a walk over a partition goes on: which of the workspaces, and which of its names or days.
pub type Place = (usize, usize);

/// Some of the names that moved after an offset.
#[derive(Default)]
pub struct NamesPiece {
    /// (workspace, source), in the order in which they were seen.
    pub sources: Vec<(u32, u32)>,
    /// (offset, workspace, user), ascending.
    pub users: Vec<(i64, u32, u32)>,
    pub next: Option<Place>,
}

impl Names {
    /// `limit`: how many names to keep at most.
    pub fn new(limit: usize) -> Self {
        let mut source_texts = Interned::new();
        source_texts.number_of(""); // NO_SOURCE
        Names {
            hasher: DefaultHashBuilder::default(),
            workspace_ids: Interned::new(),
            source_texts,
            workspaces: Vec::new(),
            order: Vec::new(),
            limit,
            not_kept: 0,
            unkept: Unkept::default(),
            moved_users: Vec::new(),
            moved_sources: Vec::new(),
            keys: 0,
        }
    }

    pub fn workspace(&mut self, id: &str) -> u32 {
        let (number, is_new) = self.find_or_add_workspace(id);
        if is_new && self.is_full() {
            self.unkept.workspaces.push(number);
            self.unkept.count += 1;
        }
        number
    }

    /// The number of a workspace, where it has one.
    pub fn find_workspace(&self, id: &str) -> Option<u32> {
        self.workspace_ids.find(id)
    }

    fn find_or_add_workspace(&mut self, id: &str) -> (u32, bool) {
        let found = self.workspace_ids.find_or_add(id);
        if found.0 as usize == self.workspaces.len() {
            self.workspaces.push(Workspace::default());
        }
        found
    }

    /// Whether no name more is kept. Once it is so it stays so, for no name is ever dropped.
    fn is_full(&self) -> bool {
        self.keys >= self.limit && kept("no-more-names")
    }

    pub fn workspace_id(&self, workspace: u32) -> &str {
        self.workspace_ids.text(workspace)
    }

    pub fn workspace_count(&self) -> usize {
        self.workspaces.len()
    }

    pub fn source(&mut self, source: Option<&str>) -> u32 {
        let Some(source) = source else { return NO_SOURCE };
        let (number, is_new) = self.source_texts.find_or_add(source);
        if is_new && self.is_full() {
            self.unkept.sources.push(number);
            self.unkept.count += 1;
        }
        number
    }

    pub fn source_text(&self, source: u32) -> Option<&str> {
        (source != NO_SOURCE).then(|| self.source_texts.text(source))
    }

    /// `user_id`: never empty.
    pub fn user(&mut self, workspace: u32, user_id: Option<&str>) -> u32 {
        let (number, is_new) = self.find_or_add_user(workspace, user_id);
        if is_new && self.is_full() {
            self.unkept.count += 1;
            let known = &mut self.workspaces[workspace as usize];
            if known.unkept_from == 0 {
                known.unkept_from = number + 1;
                self.unkept.users_of.push(workspace);
            }
        }
        number
    }

    fn find_or_add_user(&mut self, workspace: u32, user_id: Option<&str>) -> (u32, bool) {
        let known = &mut self.workspaces[workspace as usize];
        let id = user_id.unwrap_or("");
        let hash = self.hasher.hash_one(id) as u32;
        let is_it = |&number: &u32| {
            let user = &known.users[number as usize];
            user.hash == hash && user.id.as_bytes() == id.as_bytes()
        };
        if let Some(&number) = known.numbers.find(spread(hash), is_it) {
            return (number, false);
        }
        let number = known.users.len() as u32;
        let user = User { id: id.into(), hash, seen: false, moved: false, occurred_at: 0, offset: 0, label: None };
        known.users.push(user);
        let users = &known.users;
        known.numbers.insert_unique(spread(hash), number, |&number| spread(users[number as usize].hash));
        (number, true)
    }

    pub fn user_id(&self, workspace: u32, user: u32) -> Option<&str> {
        self.workspaces[workspace as usize].users[user as usize].id()
    }

    /// Notes that a name of a workspace is kept.
    fn name_workspace(&mut self, workspace: u32) {
        let known = &mut self.workspaces[workspace as usize];
        if !known.named {
            known.named = true;
            self.order.push(workspace);
        }
    }

    /// Whether one name more is kept.
    fn take_room(&mut self, workspace: u32) -> bool {
        if self.is_full() {
            self.not_kept += 1;
            return false;
        }
        self.keys += 1;
        self.name_workspace(workspace);
        true
    }

    /// Notes who did it.
    pub fn see_user(&mut self, workspace: u32, user: u32, label: Option<&str>, occurred_at: i64, offset: i64) {
        let is_new = !self.workspaces[workspace as usize].users[user as usize].seen;
        if is_new && !self.take_room(workspace) {
            return;
        }
        let names = &mut self.workspaces[workspace as usize];
        let known = &mut names.users[user as usize];
        let label = label.filter(|_| known.id().is_some());
        if is_new {
            known.seen = true;
            names.order.push(user);
        } else if label.is_none()
            || (occurred_at < known.occurred_at && known.label.is_some() && kept("label-by-its-time"))
        {
            return;
        }
        (known.occurred_at, known.offset) = (occurred_at, offset);
        if known.label() != label {
            known.label = label.map(Into::into);
        }
        if !known.moved {
            known.moved = true;
            self.moved_users.push((workspace, user));
        }
    }

    /// Notes the first event of a source.
    pub fn see_source(&mut self, workspace: u32, source: u32, offset: i64) {
        let is_new = self.workspaces[workspace as usize].sources.get(u64::from(source)).is_none();
        if is_new && self.take_room(workspace) {
            self.workspaces[workspace as usize].sources.insert(u64::from(source), offset as u64);
            self.moved_sources.push((workspace, source));
        }
    }

    /// How many users, sources and workspaces have a number and no name.
    pub fn unkept(&self) -> usize {
        self.unkept.count
    }

    /// Takes back the numbers of users and sources without a name, and of workspaces that nobody needs. Nothing may
    /// hold such a number: no day aggregate is open, nothing is read and not judged.
    pub fn forget_unkept(&mut self, is_needed: impl Fn(u32) -> bool) {
        self.unkept.count = 0;
        for workspace in std::mem::take(&mut self.unkept.users_of) {
            let known = &mut self.workspaces[workspace as usize];
            let first = known.unkept_from - 1;
            for (place, user) in known.users[first as usize..].iter().enumerate() {
                remove(&mut known.numbers, spread(user.hash), first + place as u32);
            }
            known.users.truncate(first as usize);
            known.users.shrink_to_fit();
            known.unkept_from = 0;
        }
        for source in std::mem::take(&mut self.unkept.sources) {
            self.source_texts.release(source);
        }
        for workspace in std::mem::take(&mut self.unkept.workspaces) {
            if is_needed(workspace) {
                self.unkept.workspaces.push(workspace);
            } else {
                self.workspace_ids.release(workspace);
                self.workspaces[workspace as usize] = Workspace::default();
            }
        }
    }

    /// Adds the changelog records of what moved since the last call, and says what it was.
    pub fn encode(&mut self, changes: &mut Changes) -> Moved {
        let moved =
            Moved { users: std::mem::take(&mut self.moved_users), sources: std::mem::take(&mut self.moved_sources) };
        for &(workspace, user) in &moved.users {
            let known = &mut self.workspaces[workspace as usize].users[user as usize];
            known.moved = false;
            let workspace_id = self.workspace_ids.text(workspace);
            changes.put(
                |out| put_key(out, workspace_id, b'u', known.id.as_str()),
                |out| {
                    put_array(out, 4);
                    out.push(VERSION);
                    put_int(out, known.occurred_at);
                    put_int(out, known.offset);
                    put_text(out, known.label());
                },
            );
        }
        for &(workspace, source) in &moved.sources {
            let offset = self.workspaces[workspace as usize].sources.get(u64::from(source)).unwrap_or(0);
            changes.put(
                |out| put_key(out, self.workspace_ids.text(workspace), b's', self.source_texts.text(source)),
                |out| {
                    put_array(out, 2);
                    out.push(VERSION);
                    put_int(out, offset as i64);
                },
            );
        }
        moved
    }

    pub fn user_name(&self, workspace: u32, user: u32) -> UserName<'_> {
        let known = &self.workspaces[workspace as usize].users[user as usize];
        UserName {
            workspace,
            user_id: known.id(),
            occurred_at: known.occurred_at,
            offset: known.offset,
            label: known.label(),
        }
    }

    /// Looks at so many names from a place on, and finds those that moved last, or sources that were first seen, at an
    /// offset above this one.
    pub fn piece_after(&self, offset: i64, (mut workspace_at, mut name_at): Place, limit: usize) -> NamesPiece {
        let mut piece = NamesPiece::default();
        let mut looked_at = 0;
        while looked_at < limit && workspace_at < self.order.len() {
            let workspace = self.order[workspace_at];
            let known = &self.workspaces[workspace as usize];
            let sources = known.sources.items();
            let names = sources.len() + known.order.len();
            let end = names.min(name_at + limit - looked_at);
            for place in name_at..end {
                if let Some(&(source, seen)) = sources.get(place) {
                    if seen as i64 > offset {
                        piece.sources.push((workspace, source as u32));
                    }
                    continue;
                }
                let user = known.order[place - sources.len()];
                let moved_at = known.users[user as usize].offset;
                if moved_at > offset {
                    piece.users.push((moved_at, workspace, user));
                }
            }
            looked_at += end - name_at + 1;
            (workspace_at, name_at) = if end == names { (workspace_at + 1, 0) } else { (workspace_at, end) };
        }
        piece.users.sort_unstable();
        piece.next = (workspace_at < self.order.len()).then_some((workspace_at, name_at));
        piece
    }

    /// Takes a record of the changelog.
    pub fn adopt(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let fault = || FormatError(format!("{} is no name's key", shown(stored_key)));
        let text = std::str::from_utf8(&stored_key[1..]).map_err(|_| fault())?;
        let (workspace, rest) = text.split_once('\0').ok_or_else(fault)?;
        let (workspace, _) = self.find_or_add_workspace(workspace);
        self.name_workspace(workspace);
        let mut from = Reader::versioned(value, VERSION, stored_key)?;
        self.keys += 1;
        if let Some(user) = rest.strip_prefix('u') {
            let (number, _) = self.find_or_add_user(workspace, (!user.is_empty()).then_some(user));
            let (occurred_at, offset, label) = (from.int()?, from.int()?, from.text()?);
            let names = &mut self.workspaces[workspace as usize];
            let known = &mut names.users[number as usize];
            if !known.seen {
                known.seen = true;
                names.order.push(number);
            }
            (known.occurred_at, known.offset, known.label) = (occurred_at, offset, label.map(Into::into));
        } else if let Some(source) = rest.strip_prefix('s') {
            let number = self.source_texts.number_of(source);
            let offset = from.int()?;
            self.workspaces[workspace as usize].sources.insert(u64::from(number), offset as u64);
        } else {
            return Err(fault());
        }
        Ok(())
    }
}

fn put_key(out: &mut Vec<u8>, workspace: &str, kind: u8, name: &str) {
    out.push(KIND);
    out.extend_from_slice(workspace.as_bytes());
    out.extend_from_slice(&[0, kind]);
    out.extend_from_slice(name.as_bytes());
}
