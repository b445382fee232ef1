// The retail pack's KPIs: what they mean and how each is drawn. Tables of a team's schema that are not named here are shown as they are.

export interface Chart {
  title: string;
  /** Rows with a first column for the axis; the other columns are the series. */
  sql: string;
  kind: "lines" | "days" | "bars" | "table";
  unit?: string;
}
export interface Kpi {
  table: string;
  title: string;
  meaning: string;
  charts: Chart[];
}
export interface Team {
  name: string;
  kpis: Kpi[];
}

// {days} is the number of days that the reader chose.
const perDay = (table: string, columns: string): string => `SELECT day, ${columns} FROM ${table} WHERE day > (SELECT max(day) FROM ${table}) - {days} GROUP BY day ORDER BY day`;
const rows = (table: string, columns: string): string => `SELECT day, ${columns} FROM ${table} WHERE day > (SELECT max(day) FROM ${table}) - {days} ORDER BY day`;

export const teams: Team[] = [
  {
    name: "sales",
    kpis: [
      {
        table: "sales.total_sales",
        title: "Total sales",
        meaning: "Sums over valid sales; units and net revenue are net of returns.",
        charts: [
          { title: "Revenue by day", kind: "lines", sql: perDay("sales.total_sales", "sum(net_revenue) AS net_revenue, sum(gross_revenue) AS gross_revenue, sum(returns_value) AS returns_value") },
          { title: "Net revenue by region", kind: "bars", sql: "SELECT region, sum(net_revenue) AS net_revenue FROM sales.total_sales WHERE day > (SELECT max(day) FROM sales.total_sales) - {days} GROUP BY region ORDER BY 2 DESC LIMIT 12" },
        ],
      },
      {
        table: "sales.stock_availability",
        title: "Stock availability",
        meaning: "The latest observation of each product and warehouse.",
        charts: [
          { title: "Pairs by status", kind: "bars", sql: "SELECT stock_status, count(*) AS pairs FROM sales.stock_availability GROUP BY stock_status ORDER BY 2 DESC" },
          { title: "Least available products (%)", kind: "bars", unit: " %", sql: "SELECT product_id, availability_pct FROM sales.stock_availability_rate ORDER BY availability_pct, product_id LIMIT 10" },
        ],
      },
      {
        table: "sales.product_turnover",
        title: "Product turnover",
        meaning: "Units sold in 30 days over the average closing stock of those days.",
        charts: [
          { title: "Mean turnover by day", kind: "lines", sql: perDay("sales.product_turnover", "avg(turnover_rate) AS turnover_rate") },
          { title: "Fastest on the last day", kind: "bars", sql: "SELECT product_id, turnover_rate FROM sales.product_turnover WHERE day = (SELECT max(day) FROM sales.product_turnover) AND turnover_rate IS NOT NULL ORDER BY turnover_rate DESC LIMIT 10" },
        ],
      },
    ],
  },
  {
    name: "marketing",
    kpis: [
      {
        table: "marketing.engagement",
        title: "Engagement",
        meaning: "Share of web events that are clicks, scrolls, forms, downloads, videos, shares, carts or purchases.",
        charts: [
          { title: "Engagement score", kind: "lines", unit: " %", sql: rows("marketing.engagement", "engagement_score_pct") },
          { title: "Events by day", kind: "days", sql: rows("marketing.engagement", "total_events, engagement_events") },
        ],
      },
      {
        table: "marketing.sessions",
        title: "Sessions",
        meaning: "Events of one session with gaps of at most 30 minutes, on the day of the first event.",
        charts: [
          { title: "Sessions and users", kind: "lines", sql: rows("marketing.sessions", "sessions, unique_users") },
          { title: "Bounce rate", kind: "lines", unit: " %", sql: rows("marketing.sessions", "bounce_rate_pct, mobile_event_pct") },
          { title: "Duration in seconds", kind: "lines", unit: " s", sql: rows("marketing.sessions", "avg_duration_s, median_duration_s") },
        ],
      },
      {
        table: "marketing.loyalty_activity",
        title: "Loyalty activity",
        meaning: "Customers with loyalty interactions among all customers of the day.",
        charts: [
          { title: "Loyalty activity rate", kind: "lines", unit: " %", sql: rows("marketing.loyalty_activity", "loyalty_activity_rate_pct") },
          { title: "Interactions", kind: "days", sql: rows("marketing.loyalty_activity", "interactions, loyalty_interactions") },
        ],
      },
      {
        table: "marketing.customer_engagement",
        title: "Most engaged customers",
        meaning: "Engagement by known user.",
        charts: [{ title: "Engagement events", kind: "bars", sql: "SELECT user_id, sum(engagement_events) AS engagement_events FROM marketing.customer_engagement WHERE day > (SELECT max(day) FROM marketing.customer_engagement) - {days} GROUP BY user_id ORDER BY 2 DESC, 1 LIMIT 10" }],
      },
    ],
  },
  {
    name: "operations",
    kpis: [
      {
        table: "operations.inventory_turnover",
        title: "Inventory turnover",
        meaning: "Cost of goods sold in 30 days over the average inventory value of those days.",
        charts: [
          { title: "Cost of goods sold, 30 days", kind: "lines", sql: perDay("operations.inventory_turnover", "sum(cogs_30d) AS cogs_30d, sum(avg_inventory_value_30d) AS avg_inventory_value_30d") },
          { title: "Turnover on the last day", kind: "bars", sql: "SELECT warehouse_id || ' ' || category AS warehouse_category, turnover FROM operations.inventory_turnover WHERE day = (SELECT max(day) FROM operations.inventory_turnover) AND turnover IS NOT NULL ORDER BY 2 DESC LIMIT 12" },
        ],
      },
      {
        table: "operations.restock_frequency",
        title: "Restock frequency",
        meaning: "Increases of stock in the 30 days up to the newest day of data.",
        charts: [{ title: "Most restocked", kind: "bars", sql: "SELECT 'product ' || product_id || ', warehouse ' || warehouse_id AS pair, restocks_30d FROM operations.restock_frequency ORDER BY 2 DESC, 1 LIMIT 12" }],
      },
      {
        table: "operations.stockout_alerts",
        title: "Stockout alerts",
        meaning: "Pairs that are out of stock or low now.",
        charts: [{ title: "Now", kind: "table", sql: "SELECT * FROM operations.stockout_alerts ORDER BY stock_level, since LIMIT 100" }],
      },
    ],
  },
  {
    name: "support",
    kpis: [
      {
        table: "support.feedback_score",
        title: "Feedback score",
        meaning: "Ratings, and the share of ratings of 4 and 5 (CSAT).",
        charts: [
          { title: "Average rating", kind: "lines", sql: perDay("support.feedback_score", "sum(avg_rating * ratings) / sum(ratings) AS avg_rating") },
          { title: "CSAT", kind: "lines", unit: " %", sql: perDay("support.feedback_score", "sum(csat_pct * ratings) / sum(ratings) AS csat_pct") },
        ],
      },
      {
        table: "support.interaction_volume",
        title: "Interaction volume",
        meaning: "Contacts by type and channel.",
        charts: [
          { title: "Interactions by day", kind: "days", sql: perDay("support.interaction_volume", "sum(interactions) AS interactions") },
          { title: "By type", kind: "bars", sql: "SELECT interaction_type, sum(interactions) AS interactions FROM support.interaction_volume WHERE day > (SELECT max(day) FROM support.interaction_volume) - {days} GROUP BY 1 ORDER BY 2 DESC LIMIT 12" },
        ],
      },
      {
        table: "support.time_to_resolution",
        title: "Time to resolution",
        meaning: "From the first opening of a case to its last resolution, on the day of that.",
        charts: [
          { title: "Hours", kind: "lines", unit: " h", sql: rows("support.time_to_resolution", "median_hours, p90_hours") },
          { title: "Open cases at the end of the day", kind: "days", sql: rows("support.time_to_resolution", "open_backlog, resolved") },
        ],
      },
    ],
  },
];
