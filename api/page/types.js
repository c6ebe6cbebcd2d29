/**
 * The shapes that the page reads from the API, for the editor and the type checker. No module loads this file when the page runs.
 *
 * @typedef {'final' | 'open' | 'settling' | 'future'} BucketState
 * @typedef {{ start: string, end: string, added: number, deleted: number }} EarlierBucket
 * @typedef {{ start: string, end: string, state: BucketState, added: number | null, deleted: number | null, previous: EarlierBucket | null }} Bucket
 * @typedef {{ start: string, end: string, state: BucketState, added: Record<string, number | null> }} SourceBucket
 * @typedef {{ mode: string, starts_at: string, ends_at: string, to_same_time: boolean }} Comparison
 * @typedef {{ from: string, to: string, timezone: string, interval: 'hour' | 'day' | 'week' | 'month', week_start: string,
 *   starts_at: string, ends_at: string, sources: string[] | null, users: string[] | null, compare: Comparison | null }} Query
 * @typedef {{ state: 'live' | 'catching_up' | 'stalled', as_of: string, lag_seconds: number, revision: string }} Freshness
 * @typedef {{ count: number, previous: number | null, change_percent: number | null }} Total
 * @typedef {{ names: string[], totals: Record<string, number>, timeline: SourceBucket[] }} Sources
 * @typedef {{ user_id: string | null, user_name: string | null, added: number, deleted: number }} UserCounts
 * @typedef {{ code: string, parameter: string | null, value: string | null, message: string }} Warning
 * @typedef {{ query: Query, freshness: Freshness, added: Total, deleted: Total, timeline: Bucket[], sources: Sources,
 *   users: UserCounts[], users_omitted: { count: number, added: number, deleted: number }, warnings: Warning[] }} Report
 * @typedef {{ occurred_at: string, contact_id: string | null, contact_name: string | null, activity: 'added' | 'deleted',
 *   source: string | null, user_id: string | null, user_name: string | null, event_id: string, batch_id: string | null,
 *   rows?: number, first?: string, last?: string }} Row
 * @typedef {{ query: Query, freshness: Freshness, total: number | null, activities: Row[], next_cursor: string | null,
 *   truncated_before: string | null, warnings: Warning[] }} Activities
 * @typedef {{ sources: { source: string, label: string }[], users: { user_id: string | null, user_name: string | null }[],
 *   users_omitted: { count: number }, freshness: Freshness }} Choices
 * @typedef {{ workspaces: { workspace_id: string }[], next_cursor: string | null }} Workspaces
 * @typedef {{ timezones: string[], aliases: Record<string, string> }} Zones
 * @typedef {{ title?: string, detail?: string, code?: string, errors?: { parameter: string, message: string }[] }} ProblemBody
 *
 * How the page asks: a resource of the report by its name, with the parameters of the present address or others.
 * @typedef {{ etag?: string | null }} AskOptions
 * @typedef {(resource: string, parameters?: URLSearchParams, options?: AskOptions) => Promise<{ body: any, etag: string | null } | null>} Ask
 *
 * What a chart draws: one value a series and bucket, and the earlier side's value beside it.
 * @typedef {{ name: string, label: string, colour: string, values: (number | null)[] }} Series
 * @typedef {{ start: string, end: string, state: BucketState }} Span
 * @typedef {{ none: string, spans: Span[], series: Series[], earlier: { start: string, end: string, value: number }[] | null,
 *   interval: Query['interval'], stacked: boolean, compared: string, timezone: string }} ChartModel
 */
export {};
