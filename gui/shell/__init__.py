"""The window itself: menus, rail, status bar and what routes between pages."""
